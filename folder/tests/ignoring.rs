//! What ignore files leave out: the same as git does, and never less than this device agreed to.

mod common;

use common::{Device, moments, path, texts};
use ibgib_folder::{Folder, FolderError, FolderOpts};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const FILES: [&str; 42] = [
    "foo/bar/baz/1",
    "foo/bar/2",
    "foo/other/3",
    "d/sub/f.txt",
    "d/g.txt",
    "a/vendor/f.txt",
    "b/vendor/f.txt",
    "x/y/z/a.c",
    "x/y/b.c",
    "x/c.h",
    "root.c",
    "build/out/o",
    "deep/build/p",
    "logs/a.log",
    "logs/keep.log",
    "a.log",
    "sp ace/f",
    "trail ",
    "trail",
    "#hash",
    "!bang",
    "br[ck]",
    "brc",
    "brx",
    "\\back",
    "File.TXT",
    "file.txt",
    "{a,b}.c",
    "a.c",
    "tab\t",
    "a-b",
    "a]b",
    "a^b",
    "ab/ba",
    "ab/a.c",
    "aa",
    "ba/ab/aa",
    "b.c",
    "a/b.c",
    "1a",
    "\u{e9}.c",
    "a b.c",
];

/// Rules of the root, and perhaps of one directory more.
const SETS: &[(&str, Option<(&str, &str)>)] = &[
    ("/foo/bar\n!/foo/bar/baz\n", None),
    ("/foo/bar/*\n!/foo/bar/baz\n", None),
    ("/foo/bar\n!/foo/bar/baz/**\n", None),
    ("d/\n!d/sub/*\n", None),
    ("d/**\n!d/sub/**\n", None),
    ("d/sub/\n!d/sub/f.txt\n", None),
    ("**/vendor/\n", Some(("a", "!vendor\n"))),
    ("vendor/\n", Some(("a", "!vendor/\n"))),
    ("*\n!*.c\n", None),
    ("*\n!*/\n!*.c\n", None),
    ("foo/**\n!foo/bar/bas\n", None),
    ("build\n", None),
    ("/build\n", None),
    ("build/\n", None),
    ("x/**/b.c\n", None),
    ("**/b.c\n", None),
    ("x/**\n", None),
    ("logs/*.log\n!keep.log\n", None),
    ("*.log\n!logs/keep.log\n", None),
    ("*.log\n", Some(("logs", "!keep.log\n"))),
    ("*.log\n!*.log\n", None),
    ("trail\\ \n", None),
    ("trail \n", None),
    ("trail\\  \n", None),
    ("tab\t\n", None),
    ("\\#hash\n", None),
    ("\\!bang\n", None),
    ("!\\!bang\n*\n!\\!bang\n", None),
    ("br[ck]\n", None),
    ("br\\[ck\\]\n", None),
    ("br[!x]\n", None),
    ("br[^x]\n", None),
    ("br[\n", None),
    ("br[c-\n", None),
    ("a[]]b\n", None),
    ("a[!]]b\n", None),
    ("a[\\]^-]b\n", None),
    ("a[--]b\n", None),
    ("a[+-.]b\n", None),
    ("a[z-a]b\n", None),
    ("a[!x]b.c\n/a[!x]b.c\n", None),
    ("/a[/]b.c\n", None),
    ("\\\\back\n", None),
    ("back\\\n", None),
    ("*.txt\n", None),
    ("FILE.txt\n", None),
    ("\n\n# c\n   \n*.c\n", None),
    ("*.c\r\n*.h\r\n", None),
    ("\u{feff}*.c\n", None),
    ("*.c", None),
    ("*.c\r", None),
    ("sp ace/\n", None),
    ("sp?ace/f\n", None),
    ("/*\n!/foo\n/foo/*\n!/foo/bar\n", None),
    ("foo/*\n!foo/other/\n", None),
    ("/x/*/z\n", None),
    ("y/z\n", None),
    ("/**/z\n", None),
    ("z/**\n", None),
    ("[a-b]/vendor\n", None),
    ("*.[ch]\n", None),
    ("**\n!root.c\n", None),
    ("/\n", None),
    ("!/\n*.c\n", None),
    ("foo//bar\n", None),
    ("./foo\n", None),
    ("foo/.\n", None),
    ("d\n!d\n", None),
    ("d/*\n!d/sub\n", None),
    ("*/vendor\n", Some(("b", "!/vendor\n"))),
    ("f*e.txt\n", None),
    ("x/y/**/\n", None),
    ("**/z/**\n", None),
    ("a**r\n", None),
    ("x**/b.c\nfoo/b**\n/f**1\n", None),
    ("[[:alpha:]]*.c\n", None),
    ("[[:digit:][:upper:]]*\n", None),
    ("[^[:alnum:]]*\n", None),
    ("[[:nothing:]]*\n", None),
    ("[[:alpha:]\n", None),
    ("a[[:punct:]]b\n", None),
    ("*.{c,h}\n", None),
    ("{a,b}.c\n", None),
    ("\\{a,b\\}.c\n", None),
    ("?.c\n", None),
    ("\u{e9}.c\n", None),
    ("??.c\n", None),
];

fn git(dir: &Path, args: &[&str]) -> Vec<u8> {
    let mut command = Command::new("git");
    command.current_dir(dir).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let done = command.env_remove("GIT_DIR").output().expect("git is what this is compared with");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// Lines of random tokens; the same ones with every run.
fn random_rules(seed: &mut u64) -> String {
    const TOKENS: [&str; 22] = [
        "a", "b", "ab", "*", "*", "**", "/", "/", "?", "[ab]", "[!a]", "[a-c]", ".c", "!", "{a,b}", "\\*", " ", "x",
        "foo", "**/", "/**", "c",
    ];
    let mut next = |n: usize| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) as usize % n
    };
    let mut text = String::new();
    for _ in 0..1 + next(3) {
        for _ in 0..1 + next(5) {
            text.push_str(TOKENS[next(TOKENS.len())]);
        }
        text.push('\n');
    }
    text
}

#[tokio::test]
async fn ignore_files_mean_what_git_means_by_them() {
    let device = Device::new().await;
    for file in FILES {
        device.put(file, "x\n");
    }
    let root = device.dir.path();
    git(root, &["init", "-q", "."]);
    let mut seed = 7;
    let random: Vec<String> = (0..200).map(|_| random_rules(&mut seed)).collect();
    let random = random.iter().map(|rules| (rules.as_str(), None));
    let (mut different, mut ignored) = (Vec::new(), 0);
    for (rules, more) in SETS.iter().copied().chain(random) {
        let mut put = vec![("".to_owned(), rules)];
        put.extend(more.map(|(dir, rules)| (format!("{dir}/"), rules)));
        for (dir, rules) in &put {
            for name in [".gitignore", ".ibgibignore"] {
                device.put(&format!("{dir}{name}"), rules);
            }
        }
        let told = git(root, &["ls-files", "-o", "-z", "--exclude-standard"]);
        let is_other = |name: &&str| !name.is_empty() && !name.starts_with(".ibgib/") && !name.ends_with("ignore");
        let theirs: BTreeSet<String> =
            std::str::from_utf8(&told).unwrap().split('\0').filter(is_other).map(str::to_owned).collect();
        let status = device.folder.status().await.unwrap();
        let ours: BTreeSet<String> = status.changes.iter().map(|c| c.path.to_string()).collect();
        let ours: BTreeSet<String> = ours.into_iter().filter(|name| is_other(&name.as_str())).collect();
        ignored += FILES.len() - ours.len();
        if ours != theirs {
            let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
            different.push((rules.to_owned(), only(&ours, &theirs), only(&theirs, &ours)));
        }
        for (dir, _) in &put {
            for name in [".gitignore", ".ibgibignore"] {
                std::fs::remove_file(device.at(&format!("{dir}{name}"))).unwrap();
            }
        }
    }
    assert_eq!(different, [], "rules, what only we take, what only git takes");
    assert!(ignored > 1_000, "the sets say something: {ignored}");
}

#[tokio::test]
async fn a_line_that_is_no_pattern_is_told() {
    let alice = Device::new().await;
    alice.put(".ibgibignore", "*.log\nbr[ck\n# br[\n[[:letters:]]\n");
    let report = alice.snapshot().await;
    let told: Vec<&str> = report.skipped.iter().map(|s| s.reason.as_str()).collect();
    assert_eq!(
        told,
        [
            "line 2 is no pattern: a bracket is not closed; line 4 is no pattern: it names a class of characters that there is not"
        ]
    );
    assert_eq!(texts(&report.added), [".ibgibignore"]);
}

/// Alice ignores secrets that she has; Bob is somebody else.
async fn alice_and_bob(rules: &str) -> (Device, Device) {
    let alice = Device::new().await;
    alice.put(".ibgibignore", rules);
    alice.put(".env", "key\n");
    alice.put("secrets/a", "key\n");
    alice.put("open", "x\n");
    assert_eq!(texts(&alice.snapshot().await.added), [".ibgibignore", "open"]);
    let bob = alice.joined().await;
    (alice, bob)
}

fn kept_back(skipped: &[ibgib_folder::Skipped]) -> Vec<(&str, &str)> {
    skipped.iter().map(|s| (s.path.as_str(), s.reason.as_str())).collect()
}

#[tokio::test]
async fn rules_from_elsewhere_take_nothing_from_this_device() {
    const WIDENED: &str = "ignore_widened";
    for change in ["", "# nothing\n", ".env\nsecrets\n!.env\n!secrets\n"] {
        let (alice, bob) = alice_and_bob(".env\nsecrets\n").await;
        if change.is_empty() {
            std::fs::remove_file(bob.at(".ibgibignore")).unwrap();
        } else {
            bob.put(".ibgibignore", change);
        }
        alice.sync(&bob).await;
        let report = alice.snapshot().await;
        assert!(report.is_clean(), "{change:?}: {report:?}");
        assert_eq!(kept_back(&report.skipped), [(".env", WIDENED), ("secrets", WIDENED)], "{change:?}");
        assert_eq!(alice.folder.status().await.unwrap().skipped, report.skipped);
        // Nor by editing the file while it waits, as a program may do.
        alice.put(".ibgibignore", format!("{change}*.tmp\n"));
        assert_eq!(alice.snapshot().await.skipped.len(), 2, "{change:?}");
        let widened = alice.folder.widened().await.unwrap();
        assert_eq!((widened.rules.len(), texts(&widened.files)), (1, vec![".env", "secrets"]));
        assert_eq!(widened.rules[0].accepted.as_deref(), Some(&b".env\nsecrets\n"[..]));
        // Until its owner agrees.
        assert_eq!(alice.folder.accept_rules().await.unwrap(), widened);
        assert_eq!(texts(&alice.snapshot().await.added), [".env", "secrets/a"], "{change:?}");
        assert_eq!(alice.folder.widened().await.unwrap(), ibgib_folder::Widened::default());
    }
}

#[tokio::test]
async fn rules_of_this_device_and_those_that_leave_out_more_hold_at_once() {
    let (alice, bob) = alice_and_bob(".env\nsecrets\n").await;
    // Edited here, rules are what their owner wants.
    alice.put(".ibgibignore", ".env\n");
    let report = alice.snapshot().await;
    assert_eq!((texts(&report.added), report.skipped), (vec!["secrets/a"], vec![]));
    // From elsewhere, they may leave out more, and that is agreed to...
    bob.pull(&alice).await;
    bob.checkout().await;
    bob.put(".ibgibignore", "*.log\n.env\n");
    bob.put("sub/.ibgibignore", "*.tmp\n");
    alice.sync(&bob).await;
    alice.put("a.log", "x\n");
    alice.put("sub/a.tmp", "x\n");
    assert!(alice.snapshot().await.is_clean());
    // ...so that taking it back is less again.
    bob.put(".ibgibignore", ".env\n");
    bob.put("sub/.ibgibignore", "*.tmp\n!.env\n");
    alice.sync(&bob).await;
    alice.put("sub/.env", "key\n");
    assert_eq!(
        kept_back(&alice.snapshot().await.skipped),
        [("a.log", "ignore_widened"), ("sub/.env", "ignore_widened")]
    );
    // A tracked file stays tracked.
    alice.put("open", "more\n");
    assert_eq!(texts(&alice.snapshot().await.modified), ["open"]);
    // Another device had never agreed to anything, so nothing waits there.
    let carol = alice.joined().await;
    carol.put("b.log", "x\n");
    assert_eq!(
        (texts(&carol.snapshot().await.added), carol.folder.widened().await.unwrap().rules),
        (vec!["b.log"], vec![])
    );
}

#[tokio::test]
async fn gitignore_counts_where_it_is_asked_for() {
    let alice = Device::new().await;
    alice.put(".gitignore", "*.o\n!keep.o\n");
    alice.put(".ibgibignore", "keep.o\n");
    for name in ["a.o", "keep.o", "a.c"] {
        alice.put(name, "x\n");
    }
    let added =
        |changes: Vec<ibgib_folder::Change>| changes.into_iter().map(|c| c.path.to_string()).collect::<Vec<_>>();
    assert_eq!(added(alice.folder.status().await.unwrap().changes), [".gitignore", ".ibgibignore", "a.c", "a.o"]);
    let folder = Folder::open(Arc::clone(&alice.space), alice.dir.path()).await.unwrap();
    let folder = folder.with_opts(FolderOpts { gitignore: true });
    assert_eq!(added(folder.status().await.unwrap().changes), [".gitignore", ".ibgibignore", "a.c"]);
}

#[tokio::test]
async fn what_is_untracked_stays_here_and_goes_elsewhere() {
    let alice = Device::new().await;
    for name in ["keep", "private", "dir/a", "dir/b"] {
        alice.put(name, "x\n");
    }
    alice.snapshot().await;
    let bob = alice.joined().await;
    let gone = alice.folder.untrack(&[path("private"), path("dir")], &mut moments()).await.unwrap();
    assert_eq!(texts(&gone), ["dir/a", "dir/b", "private"]);
    assert!(alice.snapshot().await.is_clean());
    alice.put("private", "mine\n");
    let report = alice.snapshot().await;
    assert!(report.is_clean());
    assert_eq!(kept_back(&report.skipped), [("dir/a", "untracked"), ("dir/b", "untracked"), ("private", "untracked")]);
    alice.sync(&bob).await;
    assert_eq!((alice.read("private"), alice.read("dir/a")), ("mine\n".into(), "x\n".into()));
    assert!(!bob.at("private").exists() && !bob.at("dir").exists() && bob.at("keep").exists());
    let nowhere = alice.folder.untrack(&[path("private")], &mut moments()).await;
    assert!(matches!(nowhere, Err(FolderError::NoEntry(_))));
    // Once it is gone from the disk, a new one of that name is a file like any other.
    std::fs::remove_file(alice.at("private")).unwrap();
    assert_eq!(alice.snapshot().await.skipped.len(), 2);
    alice.put("private", "new\n");
    assert_eq!(texts(&alice.snapshot().await.added), ["private"]);
}
