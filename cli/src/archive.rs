//! A directory as one archive, in the form in which magic-wormhole's command sends it: a zip file with the directory's
//! contents.
//!
//! Whoever sends one is trusted with nothing: an entry stays inside the directory, is a file or a directory and no link,
//! and there are no more of them, and no more bytes, than the person here was told. A device (`.ibgib`) is not sent, since
//! whoever has its secrets is that device, and none is taken.

use crate::error::CliError;
use ibgib_pairing::PairingError;
use ibgib_pairing::transfer::Contents;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zip::read::Config;
use zip::result::ZipError;
use zip::unstable::read::ZipIterable;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Files and directories in an archive: all of their names are held at once.
pub(crate) const ENTRIES_MAX: u64 = 100_000;
/// Sizes from here on are written in the form for large files: what cannot be compressed grows a little.
const LARGE: u64 = u32::MAX as u64 - (16 << 20);
/// Bytes of an archive beside its contents: names, and what compression adds.
const BESIDE_MAX: u64 = 128 << 20;
/// Bytes that are unpacked before others get their turn.
const TURN: u64 = 1 << 20;
/// Directories of an archive, whose own rights are not kept: the receiver has to be able to write into them.
const DIRECTORY_MODE: u32 = 0o755;

/// The kinds of what stands in a directory, in the bits of a mode.
const KIND: u32 = 0o170_000;
const FILE: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

/// An archive, and what is in it.
pub(crate) struct Packed {
    /// At its beginning; it has no name, and goes when it is closed.
    pub(crate) file: File,
    pub(crate) size: u64,
    pub(crate) contents: Contents,
    /// What does not travel, and why.
    pub(crate) left_out: Vec<(PathBuf, &'static str)>,
}

/// Whether an archive may have this size.
pub(crate) fn may_be(size: u64, contents: Contents) -> bool {
    size <= contents.bytes.saturating_add(contents.bytes / 1_000).saturating_add(BESIDE_MAX)
}

/// Whether this is the name of a directory in which a device keeps its secrets, on any file system.
fn is_device(name: &str) -> bool {
    let name = name.trim_end_matches(['.', ' ']).to_ascii_lowercase();
    name == ".ibgib" || name == ".ibgib.new"
}

/// Packs what stands in `dir`.
pub(crate) fn pack(dir: &Path) -> Result<Packed, CliError> {
    let file = tempfile::tempfile().map_err(|e| CliError::io(&std::env::temp_dir(), &e))?;
    let mut packing = Packing {
        zip: ZipWriter::new(file),
        contents: Contents { bytes: 0, files: 0 },
        entries: 0,
        left_out: Vec::new(),
    };
    packing.directory(dir, "")?;
    let mut file = packing.zip.finish().map_err(|e| unpackable(dir, &e))?;
    let size = file.stream_position().and_then(|size| file.rewind().map(|()| size));
    let size = size.map_err(|e| CliError::io(dir, &e))?;
    Ok(Packed { file, size, contents: packing.contents, left_out: packing.left_out })
}

fn unpackable(path: &Path, error: &ZipError) -> CliError {
    match error {
        // It is written where the system keeps what is for the moment.
        ZipError::Io(error) => CliError::io(&std::env::temp_dir(), error),
        error => CliError::io(path, &io::Error::other(error.to_string())),
    }
}

struct Packing {
    zip: ZipWriter<File>,
    contents: Contents,
    entries: u64,
    left_out: Vec<(PathBuf, &'static str)>,
}

impl Packing {
    /// Packs what stands in a directory; `under` is where it stands in the archive, with a slash at the end.
    fn directory(&mut self, dir: &Path, under: &str) -> Result<(), CliError> {
        let io = |e: io::Error| CliError::io(dir, &e);
        let mut inside: Vec<_> = fs::read_dir(dir).map_err(io)?.collect::<Result<_, _>>().map_err(io)?;
        inside.sort_by_key(fs::DirEntry::file_name);
        for entry in inside {
            let path = entry.path();
            if entry.file_name().to_str().is_some_and(is_device) {
                self.left_out.push((path, "holds the secrets of this device"));
                continue;
            }
            let meta = entry.metadata().map_err(|e| CliError::io(&path, &e))?;
            let Some(name) = entry.file_name().to_str().map(|name| format!("{under}{name}")) else {
                return Err(CliError::usage(format!("{} has a name that is no text", path.display()))
                    .about(path.display().to_string())
                    .hint("rename it, or send an archive"));
            };
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(CliError::usage(format!("there are more than {ENTRIES_MAX} files and directories"))
                    .about(path.display().to_string())
                    .hint("send an archive with --file"));
            }
            if meta.is_dir() {
                let options = SimpleFileOptions::default().unix_permissions(DIRECTORY_MODE);
                self.zip.add_directory(name.as_str(), options).map_err(|e| unpackable(&path, &e))?;
                self.directory(&path, &format!("{name}/"))?;
            } else if meta.is_file() {
                self.file(&path, &name, &meta)?;
            } else {
                self.left_out.push((path, "is neither a file nor a directory"));
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: &str, meta: &fs::Metadata) -> Result<(), CliError> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .unix_permissions(meta.permissions().mode() & 0o777)
            .large_file(meta.len() >= LARGE);
        self.zip.start_file(name, options).map_err(|e| unpackable(path, &e))?;
        let file = File::open(path).map_err(|e| CliError::io(path, &e))?;
        // One that grows meanwhile is taken as long as it was.
        let bytes = io::copy(&mut file.take(meta.len()), &mut self.zip).map_err(|e| CliError::io(path, &e))?;
        self.contents.files += 1;
        self.contents.bytes += bytes;
        Ok(())
    }
}

/// Puts an archive's contents into `path`, where nothing may be: all of it, or nothing. Its parent is where it is unpacked
/// until it is whole.
pub(crate) async fn unpack(archive: File, path: &Path, parent: &Path, promised: Contents) -> Result<(), CliError> {
    let io = |e: io::Error| CliError::io(path, &e);
    let unpacked = tempfile::Builder::new().prefix(".wormhole-").tempdir_in(parent).map_err(io)?;
    fill(archive, unpacked.path(), promised).await?;
    // Whoever made it meanwhile keeps it; and it shows which rights a directory has here.
    fs::create_dir(path).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => CliError::file_exists(path),
        _ => io(e),
    })?;
    let placed = fs::metadata(path)
        .and_then(|meta| fs::set_permissions(unpacked.path(), meta.permissions()))
        .and_then(|()| fs::rename(unpacked.path(), path));
    if let Err(error) = placed {
        // It is empty, or somebody else's.
        let _ = fs::remove_dir(path);
        return Err(io(error));
    }
    // It stands elsewhere now.
    let _ = unpacked.keep();
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(io)
}

/// Whoever waits for it may give up between two entries, and within long ones.
async fn fill(mut archive: File, dir: &Path, promised: Contents) -> Result<(), CliError> {
    let bad = |why: &'static str| CliError::from(PairingError::BadPeer(why));
    let broken = |_: ZipError| bad("what came is no archive of a directory");
    // Before all of their names are read.
    let entries = ZipIterable::try_new(BufReader::new(&mut archive), Config::default()).map_err(broken)?.len();
    if entries as u64 > ENTRIES_MAX {
        return Err(bad("the archive has too many entries"));
    }
    let mut archive = ZipArchive::new(BufReader::new(archive)).map_err(broken)?;
    let mut left = promised;
    let mut made: HashSet<PathBuf> = HashSet::from([dir.to_owned()]);
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        let kind = entry.unix_mode().unwrap_or_default() & KIND;
        let is_dir = entry.is_dir();
        if entry.is_symlink() || (kind != 0 && kind != if is_dir { DIRECTORY } else { FILE }) {
            return Err(bad("the archive has something that is neither a file nor a directory"));
        }
        let path = inside(dir, &name).map_err(bad)?;
        let io = |e: io::Error| match e.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => bad("the archive has a name twice"),
            // The system tells of its own failures by a number; all others are about what is read.
            _ if e.raw_os_error().is_none() => bad("the archive is damaged"),
            _ => CliError::io(&path, &e),
        };
        tokio::task::yield_now().await;
        let holder = if is_dir { &*path } else { path.parent().unwrap_or(dir) };
        let missing: Vec<&Path> = holder.ancestors().take_while(|at| !made.contains(*at)).collect();
        if (made.len() + missing.len()) as u64 > ENTRIES_MAX {
            return Err(bad("the archive has too many directories"));
        }
        for at in missing.into_iter().rev() {
            fs::create_dir(at).map_err(io)?;
            made.insert(at.to_owned());
        }
        if is_dir {
            continue;
        }
        if left.files == 0 {
            return Err(bad("the archive has more files than were offered"));
        }
        left.files -= 1;
        // Of its rights only those to run it are kept; the umask takes away what others may not.
        let runs = entry.unix_mode().is_some_and(|mode| mode & 0o100 != 0);
        let made = OpenOptions::new().write(true).create_new(true).mode(if runs { 0o777 } else { 0o666 }).open(&path);
        let mut file = made.map_err(io)?;
        // What an entry says of its size may be a lie.
        loop {
            let turn = TURN.min(left.bytes.saturating_add(1));
            let bytes = io::copy(&mut (&mut entry).take(turn), &mut file).map_err(io)?;
            left.bytes =
                left.bytes.checked_sub(bytes).ok_or_else(|| bad("the archive has more bytes than were offered"))?;
            if bytes < turn {
                break;
            }
            tokio::task::yield_now().await;
        }
        file.flush().and_then(|()| file.sync_all()).map_err(io)?;
    }
    // The names in them have to outlast a power cut before the sender is told that all of it is here.
    for at in &made {
        File::open(at).and_then(|dir| dir.sync_all()).map_err(|e| CliError::io(at, &e))?;
    }
    Ok(())
}

/// Where an entry stands; else what is wrong with its name.
fn inside(dir: &Path, name: &str) -> Result<PathBuf, &'static str> {
    let outside = "the archive has a name that leads out of it";
    if name.starts_with('/') || name.contains('\0') {
        return Err(outside);
    }
    let mut path = dir.to_owned();
    for part in name.split('/') {
        match part {
            // The end of a directory's name, or the directory that is packed.
            "" | "." => {}
            ".." => return Err(outside),
            part if is_device(part) => return Err("the archive has a device of ibgib in it"),
            part => path.push(part),
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use tempfile::TempDir;

    fn write(entries: &[(&str, u32, &[u8])]) -> File {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, mode, bytes) in entries {
            let options = SimpleFileOptions::default().unix_permissions(*mode);
            if *mode == 0 {
                zip.add_symlink(*name, String::from_utf8_lossy(bytes), SimpleFileOptions::default()).unwrap();
            } else if name.ends_with('/') {
                zip.add_directory(*name, options).unwrap();
            } else {
                zip.start_file(*name, options).unwrap();
                zip.write_all(bytes).unwrap();
            }
        }
        file(&zip.finish().unwrap().into_inner())
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    #[tokio::test]
    async fn what_was_packed_is_unpacked() {
        let dir = TempDir::new().unwrap();
        let from = dir.path().join("from");
        fs::create_dir_all(from.join("a/empty")).unwrap();
        fs::create_dir(from.join("a/.ibgib")).unwrap();
        fs::write(from.join("a/.ibgib/secret"), "secret").unwrap();
        fs::write(from.join("a/one.txt"), "one\n".repeat(1_000)).unwrap();
        fs::write(from.join("run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(from.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.join("link")).unwrap();
        let packed = pack(&from).unwrap();
        assert_eq!(packed.contents, Contents { bytes: 4_010, files: 2 });
        let left_out: Vec<_> = packed.left_out.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(left_out, [from.join("a/.ibgib"), from.join("link")]);
        assert!(packed.size < 1_000, "it is compressed");
        let to = dir.path().join("to");
        unpack(packed.file, &to, dir.path(), packed.contents).await.unwrap();
        assert_eq!(fs::read_to_string(to.join("a/one.txt")).unwrap(), "one\n".repeat(1_000));
        assert!(!to.join("a/.ibgib").exists());
        assert!(to.join("a/empty").is_dir() && !to.join("link").exists());
        assert_eq!(fs::metadata(to.join("run")).unwrap().permissions().mode() & 0o100, 0o100);
        assert_eq!(fs::metadata(to.join("a/one.txt")).unwrap().permissions().mode() & 0o111, 0);
        assert_ne!(fs::metadata(&to).unwrap().permissions().mode() & 0o050, 0, "it is as any new directory");
        // What is there already stays.
        let again = pack(&from).unwrap();
        assert_eq!(unpack(again.file, &to, dir.path(), again.contents).await.unwrap_err().code, "file_exists");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn an_empty_directory_is_one() {
        let dir = TempDir::new().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        let packed = pack(&from).unwrap();
        unpack(packed.file, &to, dir.path(), packed.contents).await.unwrap();
        assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn an_archive_leads_nowhere_else_and_keeps_what_was_promised() {
        let dir = TempDir::new().unwrap();
        let promised = Contents { bytes: 10, files: 2 };
        let long = [b'x'; 11];
        for (name, archive) in [
            ("upwards", write(&[("../escaped", 0o644, b"x")])),
            ("upwards inside", write(&[("a/../../escaped", 0o644, b"x")])),
            ("absolute", write(&[("/tmp/escaped", 0o644, b"x")])),
            ("a link", write(&[("link", 0, b"/etc")])),
            ("through a link", write(&[("link", 0, b".."), ("link/escaped", 0o644, b"x")])),
            ("a file as a directory", write(&[("a", 0o644, b"x"), ("a/b", 0o644, b"x")])),
            ("one name twice", write(&[("a", 0o644, b"x"), ("./a", 0o644, b"x")])),
            ("too many bytes", write(&[("a", 0o644, &long)])),
            ("too many in two", write(&[("a", 0o644, &long[1..]), ("b", 0o644, b"x")])),
            ("too many files", write(&[("a", 0o644, b""), ("b", 0o644, b""), ("c", 0o644, b"")])),
            ("a device", write(&[("a/.Ibgib/config.toml", 0o644, b"x")])),
            ("no archive", file(b"nonsense")),
            ("nothing", file(b"")),
        ] {
            let error = unpack(archive, &dir.path().join("to"), dir.path(), promised).await.unwrap_err();
            assert_eq!(error.code, "bad_peer", "{name}: {error}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{name}");
        }
    }

    #[tokio::test]
    async fn damage_is_found() {
        let dir = TempDir::new().unwrap();
        let mut whole = Vec::new();
        write(&[("a", 0o644, &[b'x'; 5_000])]).read_to_end(&mut whole).unwrap();
        for at in (0..whole.len()).step_by(3) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            let to = dir.path().join(format!("{at}"));
            match unpack(file(&damaged), &to, dir.path(), Contents { bytes: 5_000, files: 1 }).await {
                // Some of it says nothing of the contents: times, and what made it.
                Ok(()) => fs::remove_dir_all(&to).unwrap(),
                Err(error) => assert_eq!(error.code, "bad_peer", "{at}: {error}"),
            }
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
