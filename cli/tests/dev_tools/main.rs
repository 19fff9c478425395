//! The developer tools page as an engineer uses it: a real browser, the real command, a store on disk.
#![allow(clippy::disallowed_methods, reason = "the environment tells where programs are and where screenshots go")]

mod browser;
#[path = "../common/mod.rs"]
mod common;
mod operator;

use browser::Browser;
use common::{Server, World, http, text, token};
use ibgib::{Mode, Value};
use std::path::{Path, PathBuf};
use std::process::Command;
use thirtyfour::Key;

const ROWS: [&str; 13] =
    ["1b", "2b", "3b", "4-1b", "4-2b", "4-3b", "4-4b", "4-5b", "4-6b", "4-7b", "4-8b", "4-9b", "4-10b"];
const TABS: [&str; 8] = ["sagas", "timelines", "keystones", "conflicts", "spaces", "doors", "events", "faults"];

/// What the scenarios' identities are made from; it must never be seen outside of the server.
const SECRETS: [&str; 2] = ["test-sender-secret", "sender-secret-phase"];

fn serve_open(world: &World) -> (Server, String) {
    world.serve_tools("127.0.0.1:0", &["open"])
}

fn label(row: &str) -> String {
    row.replace('-', ".").to_uppercase()
}

/// Presses a row's three buttons one after the other; each has to turn green.
async fn press_row(browser: &Browser, row: &str) {
    let steps = [("setup", "Setup Complete"), ("sync", "Sync Run"), ("check", "All Passed")];
    for (step, done) in steps {
        let id = format!("btn-{row}-{step}");
        browser.press(&id).await;
        browser.says(&id, &format!("✓ {} {done}", label(row))).await;
    }
    browser.until(row, &format!("return document.getElementById('row-{row}').dataset.state === 'passed'")).await;
}

async fn run_all(browser: &Browser) {
    browser.press("btn-run-all").await;
    let told = "return /^\\d+ of \\d+ rows passed$/.exec(document.getElementById('run-all-result').textContent)?.[0]";
    let told = browser.until("all rows have run", told).await;
    let log = browser.text("#log").await;
    assert_eq!(told, "13 of 13 rows passed", "{log}");
}

async fn open_tab(browser: &Browser, tab: &str) {
    browser.press(&format!("tab-{tab}")).await;
    assert!(browser.js(&format!("return !document.getElementById('panel-{tab}').hidden")).await.as_bool().unwrap());
}

fn parse(text: &str) -> Value {
    Value::parse(text, Mode::Strict).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn row_3b_does_what_the_plan_says_button_by_button() {
    let world = World::new();
    let (server, page) = serve_open(&world);
    let browser = Browser::open_tools(&page).await;
    for row in ROWS {
        let enabled = |step: &str| format!("return !document.getElementById('btn-{row}-{step}').disabled");
        for (step, expected) in [("setup", true), ("sync", false), ("check", false)] {
            assert_eq!(browser.js(&enabled(step)).await, expected, "{row} {step}");
        }
    }
    let state = async || parse(&browser.text("#debug-state").await);
    let disabled = async |id: &str| browser.js(&format!("return document.getElementById('{id}').disabled")).await;

    browser.press("btn-3b-setup").await;
    browser.says("btn-3b-setup", "✓ 3B Setup Complete").await;
    assert_eq!((disabled("btn-3b-sync").await, disabled("btn-3b-check").await), (false.into(), true.into()));
    let seen = state().await;
    let (identity, target) = (text(&seen, "domainI").to_owned(), text(&seen, "targetX").to_owned());
    assert!(identity.starts_with("keystone^"));
    assert!(text(&seen, "domainIMasterSecret").chars().all(|c| c == '•'), "{seen}");
    let api = |path: &str| {
        let bearer = format!("Bearer {}", token(&page));
        let (status, answer) = http(&server.url, "GET", path, &[("Authorization", &bearer)]);
        assert_eq!(status, 200, "{answer}");
        parse(answer.lines().last().unwrap())
    };
    let node = |addr: &str| api(&format!("/dev-tools/api/spaces/row-3b/node?addr={}", addr.replace('^', "%5E")));
    let data = node(&target).get("data").unwrap().clone();
    assert_eq!(text(&data, "hello"), "world3");
    assert!(matches!(data.get("random"), Some(Value::Number(n)) if (0.0..=1.0).contains(n)), "{data}");
    let keystone = node(&identity).to_json();
    for salt in ["senderidentitysyncsaltphase3", "senderidentitymanagesaltphase3"] {
        assert!(keystone.contains(salt), "{keystone}");
    }

    browser.press("btn-3b-sync").await;
    browser.says("btn-3b-sync", "✓ 3B Sync Run").await;
    assert_eq!(disabled("btn-3b-check").await, false);
    browser.press("btn-3b-check").await;
    browser.says("btn-3b-check", "✓ 3B All Passed").await;
    assert!(browser.text("#log").await.contains("🎉 ALL PHASE 3B CHECKS PASSED FLAWLESSLY! ✓"));
    let seen = state().await;
    assert_eq!(text(&seen, "targetX"), target);
    assert_ne!(text(&seen, "domainI1"), identity);
    assert_eq!(node(text(&seen, "sessionS")).get("data").and_then(|d| d.get("n")?.as_u53()), Some(2));

    // Verdict, time, evidence, and the same thing as a command.
    let result = browser.js("return document.getElementById('result-3b').textContent").await;
    let result = result.as_str().unwrap();
    for part in ["PASS", " ms", "2 turns", "S.data.n = 2", "hash ✓", "every hash holds", &target[..12]] {
        assert!(result.contains(part), "{part} in {result}");
    }
    let command = browser.js("return document.querySelector('#result-3b pre.command').textContent").await;
    let done = Command::new("sh").args(["-c", command.as_str().unwrap()]).output().unwrap();
    let done = parse(String::from_utf8(done.stdout).unwrap().trim());
    assert_eq!((text(&done, "row"), done.get("passed")), ("3b", Some(&true.into())), "{done}");

    // A sync counts and edits, so that pressing it again takes the check back.
    browser.press("btn-3b-sync").await;
    browser
        .until(
            "the check is to be done again",
            "return document.getElementById('btn-3b-check').textContent === '3B Check'",
        )
        .await;
    assert_eq!(browser.text("#btn-fullsync").await, "sync - fullsync");
    browser.press("btn-fullsync").await;
    browser.until("the full sync", "return document.getElementById('row-fullsync').dataset.state === 'passed'").await;
    browser.says("btn-3b-check", "✓ 3B All Passed").await;
    browser.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_goes_green_three_times_in_a_row_and_no_secret_is_shown() {
    let world = World::new();
    let (server, page) = serve_open(&world);
    let browser = Browser::open_tools(&page).await;
    for row in ROWS {
        press_row(&browser, row).await;
    }
    run_all(&browser).await;
    run_all(&browser).await;
    for row in ROWS {
        let state = browser.js(&format!("return document.getElementById('row-{row}').dataset.state")).await;
        assert_eq!(state, "passed", "{row}");
    }
    for tab in TABS {
        open_tab(&browser, tab).await;
    }
    let shown = browser.js("return document.documentElement.outerHTML").await;
    let bearer = format!("Bearer {}", token(&page));
    let get = |path: &str| http(&server.url, "GET", &format!("/dev-tools/api/{path}"), &[("Authorization", &bearer)]).1;
    let told = ["rows", "state", "sagas", "spaces/server/keystones", "spaces/row-3b/keystones"].map(get).concat();
    for secret in SECRETS {
        assert!(!shown.as_str().unwrap().contains(secret) && !told.contains(secret), "{secret}");
    }
    browser.is_quiet().await;
    // All that the rows did, they did in a space of their own.
    let header = browser.text("#overview").await;
    assert!(header.contains("0 living, 0 identities, 0 transcripts"), "{header}");
    drop(browser);
    assert_eq!(server.stop(), Some(0));
    let found = world.fsck(&["--space", "server"]);
    assert_eq!(common::number(&found, &["nodes"]), 0, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_pass_under_an_allow_list_that_names_nobody_and_a_refused_device_is_shown() {
    let world = World::new();
    world.write("allow", "# nobody\n");
    let (server, page) = world.serve_tools("127.0.0.1:0", &["allow", "--allow", "allow"]);
    let browser = Browser::open_tools(&page).await;
    run_all(&browser).await;
    world.write("alice/notes.txt", "one\n");
    world.run(&["init", "alice", "--remote", &server.url]).ok();
    world.run(&["-C", "alice", "sync"]).fails(7, "identity_not_allowed");
    let identity = world.run(&["-C", "alice", "identity", "show", "--json"]).ok().json();
    browser.until("the refusal", "return document.querySelector('#refusals li')").await;
    assert!(browser.text("#refusals").await.contains("identity_not_allowed"));
    let whole = browser.js("return document.querySelector('#refusals .addr').title").await;
    assert!(whole.as_str().unwrap().starts_with(text(&identity, "identity")), "{whole}");
}

/// Lets a test change what the server answers to some requests, as a lying server would.
const TAMPERING: &str = r"
    const real = window.fetch;
    window.tamper = null;
    window.fetch = async (url, options) => {
        const answer = await real(url, options);
        if (!window.tamper || !String(url).includes(window.tamper.part)) return answer;
        window.tampered = (window.tampered ?? 0) + 1;
        return new Response(window.tamper.change(await answer.text()), { status: answer.status, headers: answer.headers });
    };
";

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_answer_makes_the_check_red() {
    let world = World::new();
    let (_server, page) = serve_open(&world);
    let browser = Browser::open_tools(&page).await;
    press_row(&browser, "4-1b").await;
    browser.js(TAMPERING).await;
    let one_line = "const lines = text.trim().split('\\n'); ";
    let edited =
        "const node = JSON.parse(lines[0]); node.data = { ...node.data, forged: 1 }; lines[0] = JSON.stringify(node); ";
    let done = "return lines.join('\\n');";
    let graph = "/spaces/rows/graph";
    let cases = [
        ("a changed node", graph, format!("{one_line}{edited}{done}"), "server: hash ✗"),
        ("a missing node", graph, format!("{one_line}lines.shift(); {done}"), "but not at the server"),
        ("a node twice", graph, format!("{one_line}lines.push(lines[0]); {done}"), "stands twice"),
        ("nothing at all", graph, "return '';".into(), "server: the graph does not hold"),
        ("no JSON", graph, "return 'sorry';".into(), "is not JSON"),
        (
            "an unhashed member",
            graph,
            format!("{one_line}lines[0] = lines[0].replace('{{', '{{\"x\":1,'); {done}"),
            "not covered by the hash",
        ),
        ("own space changed", "/spaces/row-4-1b/graph", format!("{one_line}{edited}{done}"), "row-4-1b: hash ✗"),
        (
            "own space lacks one",
            "/spaces/row-4-1b/graph",
            format!("{one_line}lines.shift(); {done}"),
            "but not in row-4-1b",
        ),
        (
            "an older tip",
            "/spaces/rows/timeline?",
            "return text.replace(/\"tip\":\"/, '\"tip\":\"old');".into(),
            "the server's newest frame is",
        ),
        (
            "nothing named",
            "/rows/4-1b/check",
            "return JSON.stringify({ ...JSON.parse(text), graphs: [] });".into(),
            "names nothing to look at",
        ),
        (
            "a failed check called passed",
            "/api/rows",
            "return text.replaceAll('same tip on both sides\",\"passed\":true', 'same tip on both sides\",\"passed\":false');".into(),
            "✗ ",
        ),
    ];
    for (what, part, change, reason) in cases {
        browser
            .js(&format!(
                "window.tampered = 0; window.tamper = {{ part: {part:?}, change: (text) => {{ {change} }} }};"
            ))
            .await;
        browser.press("btn-4-1b-check").await;
        browser.until(what, "return document.getElementById('row-4-1b').dataset.state !== 'busy'").await;
        assert!(browser.js("return window.tampered").await.as_u64().unwrap() > 0, "{what}");
        assert_eq!(browser.js("return document.getElementById('row-4-1b').dataset.state").await, "failed", "{what}");
        assert_eq!(browser.text("#btn-4-1b-check").await, "4.1B Check", "{what}");
        let said = browser.text("#result-4-1b").await;
        assert!(said.contains("FAIL") && said.contains(reason), "{what}: {said}");
        assert!(
            browser.js("return document.querySelector('#log li:last-child').className === 'bad'").await == true,
            "{what}"
        );
        // An honest answer is green again.
        browser.js("window.tamper = null;").await;
        browser.press("btn-4-1b-check").await;
        browser.says("btn-4-1b-check", "✓ 4.1B All Passed").await;
    }

    // A node of a timeline that is not what its address says.
    let forge = "const node = JSON.parse(text); node.data = { ...node.data, forged: 1 }; return JSON.stringify(node);";
    browser.js(&format!("window.tamper = {{ part: '/spaces/rows/node', change: (text) => {{ {forge} }} }};")).await;
    open_tab(&browser, "timelines").await;
    browser.choose("timelines-space", "rows").await;
    browser
        .until("timelines", "const b = document.querySelector('#timelines-list .choice'); b?.click(); return b")
        .await;
    // The page redraws a timeline when it hears of news, so the sum and the marks are looked at in one moment.
    let every_mark = "const marks = [...document.querySelectorAll('#dag .hashed')]; \
        return /✗/.test(document.getElementById('frames-hash')?.textContent) && marks.length > 0 && \
        marks.every((e) => e.textContent === 'hash wrong')";
    browser.until("bad hashes", every_mark).await;
    browser.js("document.querySelector('#dag .frame').dispatchEvent(new MouseEvent('click'))").await;
    browser.until("the node's hash", "return document.getElementById('frame-hash')?.textContent === 'hash ✗'").await;
    browser.js("window.tamper = null; document.querySelector('#timelines-list .choice').click()").await;
    browser.until("good hashes", "return document.getElementById('frames-hash')?.textContent === 'every hash ✓'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_foreign_origins_and_foreign_hosts_are_refused() {
    let world = World::new();
    let (server, page) = serve_open(&world);
    let bearer = format!("Bearer {}", token(&page));
    let api = parse(&common::get(&server.url, "/api/v1/openapi.json"));
    let (mut seen, mut wrong) = (0, bearer.clone());
    wrong.replace_range(10..11, if &wrong[10..11] == "0" { "1" } else { "0" });
    for (path, methods) in api.get("paths").and_then(Value::as_object).unwrap().iter() {
        if !path.starts_with("/dev-tools/api/") {
            continue;
        }
        let path = path.replace("{id}", "3b").replace("{step}", "setup").replace("{space}", "server");
        for method in methods.as_object().unwrap().keys().map(str::to_uppercase) {
            let refused = |headers: &[(&str, &str)], status: u16, code: &str| {
                let (got, answer) = http(&server.url, &method, &path, headers);
                assert_eq!(got, status, "{method} {path} {headers:?}: {answer}");
                assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
            };
            refused(&[], 401, "token");
            refused(&[("Authorization", &wrong)], 401, "token");
            refused(&[("Authorization", &bearer), ("Origin", "http://evil.example")], 403, "origin");
            refused(&[("Authorization", &bearer), ("Origin", "null")], 403, "origin");
            refused(&[("Authorization", &bearer), ("Host", "evil.example")], 403, "host");
            seen += 1;
        }
    }
    assert!(seen >= 17, "{seen} routes");
    let (status, answer) = http(&server.url, "GET", "/dev-tools/", &[]);
    let policy = answer.lines().find_map(|l| l.strip_prefix("content-security-policy: ")).unwrap();
    assert!(status == 200 && policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(http(&server.url, "GET", "/dev-tools/", &[("Host", "evil.example")]).0, 403);
    // Off unless asked for, and never beyond this machine.
    let plain = world.serve("plain");
    assert_eq!(http(&plain.url, "GET", "/dev-tools/", &[]).0, 404);
    world
        .run(&["serve", "--dev-tools", "--space", "x", "--listen", "0.0.0.0:0", "--allow-plain-text"])
        .fails(2, "usage");

    // A page of no origin of ours, in a browser, with the right token.
    let browser = Browser::open("data:text/html,<title>foreign</title>").await;
    let fetch = format!(
        "return await fetch('{}/dev-tools/api/overview', {{ headers: {{ Authorization: '{bearer}' }} }}).then((r) => r.status)",
        server.url
    );
    assert_eq!(browser.js_async(&fetch).await, "TypeError: Failed to fetch");
    let socket = format!(
        "const socket = new WebSocket('{}/api/v1/sync', 'ibgib.saga.v1'); \
         return await new Promise((done) => {{ socket.onopen = () => done('open'); socket.onerror = () => done('refused'); }})",
        server.url.replace("http", "ws")
    );
    assert_eq!(browser.js_async(&socket).await, "refused");

    // The page itself says what is wrong.
    for (address, title) in [
        (page.split('#').next().unwrap().to_owned(), "This page needs its token"),
        (page.replace(token(&page), &"0".repeat(64)), "The server does not take this page's token"),
    ] {
        browser.goto("about:blank").await;
        browser.goto(&address).await;
        browser.until(title, "return !document.getElementById('no-token').hidden").await;
        browser.says("no-token-title", title).await;
        assert!(browser.js("return document.getElementById('main').hidden").await == true);
    }
    browser.errors().await;
    browser.goto("about:blank").await;
    browser.goto(&page).await;
    browser.until("rows", "return document.querySelector('.row')").await;
    browser
        .js("const s = document.createElement('script'); s.textContent = 'window.inline = 1'; document.head.append(s)")
        .await;
    assert!(browser.js("return window.inline === undefined").await == true);
    assert!(browser.errors().await.iter().any(|e| e.contains("Content Security Policy")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_goes_on_when_the_server_is_restarted_under_it() {
    let world = World::new();
    let (server, page) = serve_open(&world);
    let listen = format!("127.0.0.1:{}", server.port());
    let browser = Browser::open_tools(&page).await;
    press_row(&browser, "3b").await;
    browser.js("window.sameDocument = true").await;
    server.kill();
    browser.until("the banner", "return !document.getElementById('net-banner').hidden").await;
    assert!(browser.text("#net-banner").await.contains("not reachable"));
    // What is pressed meanwhile fails with the reason.
    browser.press("btn-3b-check").await;
    browser.until("red", "return document.getElementById('row-3b').dataset.state === 'failed'").await;
    assert!(browser.text("#result-3b").await.contains("unreachable"));
    for tab in ["sagas", "timelines", "keystones", "conflicts", "spaces"] {
        open_tab(&browser, tab).await;
        let problem = format!("return document.querySelector('#panel-{tab} .problem button')");
        browser.until("a problem with a button to try again", &problem).await;
    }

    let (server, again) = world.serve_tools(&listen, &["open"]);
    assert_eq!(again, page, "the token stays");
    browser.until("the banner is gone", "return document.getElementById('net-banner').hidden").await;
    browser.says("btn-3b-setup", "3B Setup").await;
    browser
        .until(
            "spaces",
            "return document.querySelector('#space-server') && !document.querySelector('#panel-spaces .problem')",
        )
        .await;
    press_row(&browser, "3b").await;
    open_tab(&browser, "events").await;
    browser.until("events follow", "return document.querySelector('#events-list .kind-done')").await;
    assert!(browser.js("return window.sameDocument").await == true, "nobody had to load the page again");
    drop(browser);
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_saga_of_a_device_is_shown_live_with_phases_messages_and_frames() {
    let world = World::new();
    let (server, page) = serve_open(&world);
    let browser = Browser::open_tools(&page).await;
    browser.until("empty", "return /No sagas yet/.test(document.getElementById('sagas-list').textContent)").await;
    world.write("alice/notes.txt", "one\n\ntwo\n");
    world.run(&["init", "alice", "--remote", &server.url]).ok();
    let synced = world.run(&["-C", "alice", "sync", "--json"]).ok().json();
    browser.until("the device's saga", "return document.querySelector('#sagas-list article[data-state=done]')").await;
    let card = browser.js("return document.querySelector('#sagas-list article').textContent").await;
    let sent = common::number(&synced, &["nodes", "sent"]);
    for part in
        ["committed", text(&synced, "saga"), &format!("{sent} nodes received"), "sync_frame_request", "unsigned"]
    {
        assert!(card.as_str().unwrap().contains(part), "{part} in {card}");
    }
    let identity = world.run(&["-C", "alice", "identity", "show", "--json"]).ok().json();
    let whole = browser.js("return document.querySelector('#sagas-list .addr').title").await;
    assert!(whole.as_str().unwrap().starts_with(text(&identity, "identity")), "{whole}");
    let seen = "return [...document.querySelectorAll('#sagas-list .strip .seen')].map((e) => e.textContent).join(' ')";
    let seen = browser.js(seen).await;
    assert!(["hello", "connect", "plan", "commit"].iter().all(|p| seen.as_str().unwrap().contains(p)), "{seen}");
    let row = "return [...document.querySelectorAll('#sagas-list tbody tr')].some((r) => Number(r.cells[3].textContent.replace(/,/g, '')) > 0 && r.cells[4].querySelector('.addr'))";
    assert!(browser.js(row).await == true, "messages have a size and a signer");

    // What the device sent, as a timeline; and its next edit, while one looks on.
    open_tab(&browser, "timelines").await;
    let folder = text(&world.run(&["-C", "alice", "status", "--json"]).ok().json(), "folder").to_owned();
    let pick = format!("const b = document.querySelector('.choice[data-tjp=\"{folder}\"]'); b?.click(); return b");
    browser.until("the folder's timeline", &pick).await;
    browser.until("its hashes", "return document.getElementById('frames-hash')?.textContent === 'every hash ✓'").await;
    let frames = "return document.querySelectorAll('#dag .frame').length";
    let before = browser.js(frames).await.as_u64().unwrap();
    let focused = "return document.activeElement.getAttribute('data-addr')";
    browser.js("document.querySelector('#dag .frame:last-of-type').focus()").await;
    let first = browser.js(focused).await;
    assert!(first.is_string());
    world.write("alice/new.txt", "new\n");
    world.run(&["-C", "alice", "sync"]).ok();
    browser.until("a new frame", &format!("return document.querySelectorAll('#dag .frame').length > {before}")).await;
    assert_eq!(browser.js(focused).await, first, "news must not take the focus away");

    // Events that never cease do not keep the page from looking.
    let busy = "const { soon } = await import('/dev-tools/dom.js'); let looks = 0; const look = soon(() => (looks += 1), 500); \
                for (let i = 0; i < 80; i += 1) { look(); await new Promise((done) => setTimeout(done, 10)); } return looks";
    assert!(browser.js_async(busy).await.as_u64().unwrap() > 0);

    // One that takes its time is seen on its way.
    open_tab(&browser, "faults").await;
    browser.fill("fault-delay_ms_max", "400").await;
    browser.press("btn-faults-apply").await;
    browser.says("faults-result", "applied").await;
    open_tab(&browser, "sagas").await;
    browser.press("btn-4-7b-setup").await;
    browser.says("btn-4-7b-setup", "✓ 4.7B Setup Complete").await;
    browser.press("btn-4-7b-sync").await;
    browser
        .until("a saga on its way", "return document.querySelector('#sagas-list article[data-state=open] .strip .now')")
        .await;
    browser.says("btn-4-7b-sync", "✓ 4.7B Sync Run").await;
    browser.until("all done", "return !document.querySelector('#sagas-list article[data-state=open]')").await;
    browser.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_make_a_row_red_with_the_reason_and_leave_nothing_half_done() {
    let world = World::new();
    let (server, page) = serve_open(&world);
    let browser = Browser::open_tools(&page).await;
    for (fault, saga) in [("cut_one_in", false), ("corrupt_one_in", true)] {
        open_tab(&browser, "faults").await;
        browser.fill("fault-seed", "7").await;
        browser.fill(&format!("fault-{fault}"), "1").await;
        browser.press("btn-faults-apply").await;
        browser
            .until("the banner", "return /Faults are on/.test(document.getElementById('fault-banner').textContent)")
            .await;
        browser.press("btn-4-1b-setup").await;
        browser.says("btn-4-1b-setup", "✓ 4.1B Setup Complete").await;
        browser.press("btn-4-1b-sync").await;
        browser.until(fault, "return document.getElementById('row-4-1b').dataset.state === 'failed'").await;
        assert!(browser.text("#result-4-1b .reason").await.starts_with("failed: "), "{fault}");
        let trouble = "return /row 4.1B failed/.test(document.getElementById('trouble').textContent)";
        browser.until("the row among the trouble", trouble).await;
        assert!(browser.js("return document.getElementById('btn-4-1b-check').disabled").await == true);
        if saga {
            open_tab(&browser, "sagas").await;
            browser
                .until("the reason", "return document.querySelector('#sagas-list article[data-state=failed] .reason')")
                .await;
            assert!(
                browser.text("#sagas-list article[data-state=failed] .reason").await.contains("refused or failed: ")
            );
            open_tab(&browser, "faults").await;
        }
        browser.press("btn-faults-off").await;
        browser.until("no banner", "return document.getElementById('fault-banner').hidden").await;
        browser.press("btn-4-1b-sync").await;
        browser.says("btn-4-1b-sync", "✓ 4.1B Sync Run").await;
        browser.press("btn-4-1b-check").await;
        browser.says("btn-4-1b-check", "✓ 4.1B All Passed").await;
        browser.until("calm", "return /no trouble/.test(document.getElementById('trouble').textContent)").await;
    }
    open_tab(&browser, "faults").await;
    browser.fill("fault-drop_one_in", "-3").await;
    browser.press("btn-faults-apply").await;
    assert!(browser.text("#faults-result").await.contains("must be a whole number"));
    drop(browser);
    assert_eq!(server.stop(), Some(0));
    world.fsck(&["--space", "server"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_conflicts_pools_sizes_and_events_are_there_to_be_seen() {
    let world = World::new();
    let (_server, page) = serve_open(&world);
    let browser = Browser::open_tools(&page).await;
    for (tab, said) in [
        ("timelines", "No living timelines yet"),
        ("keystones", "No identities yet"),
        ("conflicts", "No conflicts"),
        ("spaces", "The rows sync with a space of their own"),
        ("events", "No events yet"),
    ] {
        open_tab(&browser, tab).await;
        let body = format!("return document.getElementById('panel-{tab}').textContent.includes({said:?})");
        browser.until(said, &body).await;
    }
    // The row brings two spaces in. What was on offer before stays the same element: a person may be choosing it now.
    browser.js("window.offered = document.querySelector('#conflicts-space option[value=server]')").await;
    press_row(&browser, "4-10b").await;

    open_tab(&browser, "conflicts").await;
    browser.choose("conflicts-space", "rows").await;
    assert!(browser.js("return window.offered.isConnected").await.as_bool().unwrap());
    browser.until("a conflict", "return document.querySelector('#conflicts-list article')").await;
    assert_eq!(browser.text("#conflicts-count").await, "1 conflict");
    let sides = "return [...document.querySelectorAll('#conflicts-list .sides section')].map((s) => s.textContent)";
    let sides = browser.js(sides).await;
    for (side, (name, line)) in [("ancestor", "-0"), ("base", "+"), ("orphan", "+")].into_iter().enumerate() {
        let said = sides[side].as_str().unwrap();
        assert!(said.contains(name) && said.contains(line), "{said}");
    }

    open_tab(&browser, "timelines").await;
    browser.choose("timelines-space", "row-4-10b").await;
    let shown = "return [...document.querySelectorAll('#timelines-list .choice')].map((b) => b.dataset.tjp)";
    browser.until("timelines", &format!("return (() => {{ {shown} }})().length > 0")).await;
    let merged = "return Boolean(document.querySelector('#dag .mark.merge') && document.querySelector('#dag .edge.graft') && \
                  document.querySelector('#dag .conflicted'))";
    let mut found = false;
    for tjp in browser.js(shown).await.as_array().unwrap() {
        browser.js(&format!("document.querySelector('.choice[data-tjp={tjp}]').click()")).await;
        let drawn = format!(
            "return document.querySelector('#timeline-view .addr')?.title.startsWith({tjp}) && \
             document.getElementById('frames-hash').textContent === 'every hash ✓'"
        );
        browser.until("the timeline with its hashes", &drawn).await;
        found = browser.js(merged).await == true;
        if found {
            break;
        }
    }
    assert!(found, "a merge with its graft and its conflict");
    browser.until("hashes", "return document.getElementById('frames-hash')?.textContent === 'every hash ✓'").await;
    let tips = "return [...document.querySelectorAll('#dag .frame .n')].map((n) => Number(n.textContent.slice(2)))";
    let order: Vec<i64> = serde_json::from_value(browser.js(tips).await).unwrap();
    assert!(order.is_sorted_by(|a, b| a >= b) && order.last() == Some(&0), "{order:?}");

    open_tab(&browser, "keystones").await;
    browser.until("pools", "return document.querySelectorAll('#keystones-list .pool').length >= 3").await;
    let told = browser.text("#keystones-list").await;
    assert!(told.contains("session") && told.contains("connect, sync") && told.contains(" of 32 left, "), "{told}");

    open_tab(&browser, "spaces").await;
    for space in ["server", "rows", "row-4-10b"] {
        browser.until(space, &format!("return document.getElementById('space-{space}')")).await;
        let facts = browser.text(&format!("#space-{space} dl")).await;
        assert!(facts.contains("size") && (facts.contains(" KiB") || facts.contains(" MiB")), "{facts}");
        browser.press(&format!("btn-fsck-{space}")).await;
        let clean = format!("return /CLEAN.*unreachable/.test(document.getElementById('fsck-{space}').textContent)");
        browser.until("fsck", &clean).await;
        assert!(!browser.text(&format!("#fsck-{space}")).await.contains("NOT"));
    }

    open_tab(&browser, "events").await;
    browser.fill("events-filter", "saga committed").await;
    browser.until("filtered", "return [...document.querySelectorAll('#events-list .text')].every((t) => /saga committed/.test(t.textContent))").await;
    let shown = browser.js("return document.querySelectorAll('#events-list > li').length").await.as_u64().unwrap();
    assert!(shown > 0);
    browser.js("window.saved = new Promise((done) => { URL.createObjectURL = (blob) => { done(blob.text()); return '#'; }; })").await;
    browser.press("btn-events-export").await;
    let saved = browser.js_async("return await window.saved").await;
    let saved: Vec<Value> = saved.as_str().unwrap().lines().map(parse).collect();
    assert_eq!(saved.len() as u64, shown);
    assert!(saved.iter().all(|e| text(e, "kind") == "done"));
    browser.fill("events-filter", "").await;
    browser.press("btn-events-pause").await;
    browser.press("btn-1b-setup").await;
    browser.says("btn-1b-setup", "✓ 1B Setup Complete").await;
    browser
        .until("held back", "return /paused, [1-9]/.test(document.getElementById('events-count').textContent)")
        .await;
    assert!(!browser.text("#events-list").await.contains("1B setup passed"));
    browser.press("btn-events-pause").await;
    browser.until("shown", "return /1B setup passed/.test(document.getElementById('events-list').textContent)").await;
    browser.is_quiet().await;
}

/// Presses Tab until something has the focus.
async fn tab_to(browser: &Browser, id: &str) {
    for _ in 0..80 {
        if browser.js("return document.activeElement.id").await == id {
            let ring = browser.js("return getComputedStyle(document.activeElement).outlineStyle").await;
            assert_ne!(ring, "none", "the focus on {id} cannot be seen");
            return;
        }
        browser.keys(Key::Tab).await;
    }
    panic!("{id} cannot be reached with the Tab key");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_done_with_the_keyboard_alone() {
    let world = World::new();
    let (_server, page) = serve_open(&world);
    let browser = Browser::open_tools(&page).await;
    for (step, done) in [("setup", "Setup Complete"), ("sync", "Sync Run"), ("check", "All Passed")] {
        let id = format!("btn-4-7b-{step}");
        tab_to(&browser, &id).await;
        browser.keys(Key::Enter).await;
        browser.says(&id, &format!("✓ 4.7B {done}")).await;
    }
    tab_to(&browser, "tab-sagas").await;
    browser.keys(Key::Right).await;
    assert_eq!(browser.js("return document.activeElement.id").await, "tab-timelines");
    tab_to(&browser, "timelines-space").await;
    // One key: where keys come slowly, a list takes the later ones of a word for the beginning of another.
    let there = "return [...document.getElementById('timelines-space').options].some((o) => o.value === 'rows')";
    browser.until("the rows' space", there).await;
    browser.keys("r").await;
    assert_eq!(browser.js("return document.getElementById('timelines-space').value").await, "rows");
    browser.until("timelines", "return document.querySelector('#timelines-list .choice')").await;
    let on = async |css: &str| browser.js(&format!("return document.activeElement.matches({css:?})")).await == true;
    for css in [".choice", "#dag .frame"] {
        for _ in 0..20 {
            if on(css).await {
                break;
            }
            browser.keys(Key::Tab).await;
        }
        assert!(on(css).await, "{css}");
        browser.keys(Key::Enter).await;
        browser.until("answered", "return document.querySelector('#dag .frame')").await;
    }
    browser.until("the frame's hash", "return document.getElementById('frame-hash')?.textContent === 'hash ✓'").await;
    assert!(on("#dag .frame.selected").await, "the focus stays at the frame");
}

/// Text whose colour is too near to what it stands on (WCAG AA), unless it is switched off.
const FAINT: &str = r"
    const parts = (colour) => { const p = colour.match(/[\d.]+/g).map(Number); return [...p.slice(0, 3), p[3] ?? 1]; };
    const light = (rgb) => { const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const ground = (e) => { for (; e; e = e.parentElement) { const [r, g, b, a] = parts(getComputedStyle(e).backgroundColor);
        if (a === 1) return [r, g, b]; } return [255, 255, 255]; };
    const out = [];
    for (const e of document.querySelectorAll('body *')) {
        if (!e.checkVisibility() || e.closest('svg, :disabled, option')) continue;
        if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
        const [a, b] = [light(parts(getComputedStyle(e).color).slice(0, 3)), light(ground(e))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) out.push(`${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
    }
    return out;
";

/// Where screenshots go: to `IBGIB_SCREENSHOTS`, seen from the workspace, else where cargo's tests keep things.
fn screenshots() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::var_os("IBGIB_SCREENSHOTS").map_or(env!("CARGO_TARGET_TMPDIR").into(), |dir| root.join(dir))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_fits_1280_and_400_pixels_in_light_and_dark() {
    let world = World::new();
    let (server, page) = serve_open(&world);
    let browser = Browser::open_tools(&page).await;
    run_all(&browser).await;
    world.write("alice/notes.txt", "one\n\ntwo\n");
    world.run(&["init", "alice", "--remote", &server.url]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    browser
        .until("the header keeps up", "return /[1-9]\\d* living/.test(document.getElementById('overview').textContent)")
        .await;
    open_tab(&browser, "timelines").await;
    browser.choose("timelines-space", "rows").await;
    let longest = "const all = [...document.querySelectorAll('#timelines-list .choice')]; \
                   all.find((b) => b.textContent.endsWith('n 10'))?.click(); return all.length > 0 && document.querySelector('#dag .merge')";
    browser.until("a timeline with merges", longest).await;
    browser.until("its hashes", "return document.getElementById('frames-hash')?.textContent === 'every hash ✓'").await;
    browser.js("document.querySelector('#dag .frame').dispatchEvent(new MouseEvent('click'))").await;
    browser.until("a node", "return document.getElementById('frame-hash')").await;
    for (width, height) in [(1280, 900), (400, 800)] {
        for dark in [false, true] {
            browser.look(width, height, dark).await;
            for tab in TABS {
                open_tab(&browser, tab).await;
                let wide = browser.js("return document.documentElement.scrollWidth").await;
                assert!(wide.as_u64().unwrap() <= u64::from(width), "{tab} is {wide} wide at {width}");
                let faint = browser.js(FAINT).await;
                assert_eq!(faint, serde_json::json!([]), "{tab} at {width}, dark: {dark}");
            }
            let scheme = browser.js("return getComputedStyle(document.body).backgroundColor").await;
            assert_eq!(scheme == "rgb(18, 22, 29)", dark, "{scheme}");
        }
    }

    let into = screenshots();
    let top = "scrollTo(0, 0); document.getElementById('panels').scrollTop = 0; document.activeElement.blur()";
    let rows = "document.getElementById('phases').scrollIntoView(); document.activeElement.blur()";
    let fall = "const all = [...document.querySelectorAll('#sagas-list article')]; \
                const most = (a) => a.querySelectorAll('tbody tr').length; \
                const d = all.sort((a, b) => most(b) - most(a))[0].querySelector('details'); d.open = true; return d";
    browser.js(fall).await;
    browser.until("a waterfall", "return document.querySelector('.waterfall .turn')").await;
    let saga = "scrollTo(0, 0); document.querySelector('.fall').closest('article').scrollIntoView(); \
                document.activeElement.blur()";
    for (name, width, height, dark, tab, place) in [
        ("dev-tools-1280", 1280, 780, false, "timelines", top),
        ("dev-tools-1280-dark", 1280, 780, true, "sagas", saga),
        ("dev-tools-400", 400, 800, false, "sagas", saga),
        ("dev-tools-400-rows", 400, 800, false, "sagas", rows),
    ] {
        browser.look(width, height, dark).await;
        open_tab(&browser, tab).await;
        browser.js(place).await;
        browser.rest().await;
        browser.screenshot(&into.join(format!("{name}.png"))).await;
        assert!(std::fs::metadata(into.join(format!("{name}.png"))).unwrap().len() > 10_000);
    }
    browser.is_quiet().await;
}
