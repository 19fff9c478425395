//! A store that an earlier version made opens unchanged, and goes on. The fixture: a note edited on two sides and merged,
//! a transcript, an identity, records, and nodes staged for two owners, one of which was committed by somebody else.

mod common;

use common::{newest, set, step};
use ibgib_spaces::{Commit, CommitError, DurableSpace, Kind, Space, SpaceError, Store, fsck};

const ID: &str = "d8c80ffd716a8599b5f1d38d44a4f022d1fceb5d3eae1fccfd4fbf846421bb13";

#[tokio::test]
async fn a_store_made_before_opens_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let made = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/space/space.redb");
    std::fs::copy(made, dir.path().join(ibgib_spaces::FILE)).unwrap();
    let space = DurableSpace::open(dir.path()).unwrap();
    assert_eq!((space.id(), space.revision().await.unwrap(), space.count().await.unwrap()), (ID, 5, 13));
    let report = fsck(&space).await.unwrap();
    assert!(report.is_clean() && report.nodes == 13 && report.timelines == 3, "{report:?}");
    let tips = space.tips(None).await.unwrap();
    let kinds: Vec<_> = tips.iter().map(|t| (t.kind, t.n)).collect();
    assert_eq!(kinds, [(Kind::Keystone, Some(0)), (Kind::Living, Some(2)), (Kind::Saga, Some(0))]);
    assert_eq!(space.changes(3).await.unwrap().tips, tips[..1]);
    let records = [("kept/a".to_owned(), b"1".to_vec()), ("kept/b".to_owned(), vec![])];
    assert_eq!(space.records("kept/").await.unwrap(), records);
    for owner in ["one", "two"] {
        let staged = space.staged_addrs(owner).await.unwrap();
        assert_eq!(staged.len(), 2, "{staged:?}");
        assert!(space.staged(owner, &staged).await.unwrap().iter().all(Option::is_some));
    }

    let note = newest(&space, &tips[1].tjp).await;
    assert!(note.datum("mine").is_some() && note.datum("yours").is_some());
    let next = set(&note, "later", true);
    assert_eq!(space.commit(step(&space, Some(note.addr()), &next).await).await.unwrap(), 6);
    space.unstage("one").await.unwrap();
    assert_eq!(space.staged_addrs("two").await.unwrap().len(), 2);
    drop(space);
    let space = DurableSpace::open(dir.path()).unwrap();
    assert_eq!(newest(&space, &tips[1].tjp).await, next.frame);
    assert!(fsck(&space).await.unwrap().is_clean());
}

/// Where nothing can be written, what is there is read; who may write is kept out meanwhile, and keeps others out.
#[tokio::test]
async fn a_store_that_is_only_read_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let made = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/space/space.redb");
    let file = dir.path().join(ibgib_spaces::FILE);
    std::fs::copy(made, &file).unwrap();
    drop(DurableSpace::open(dir.path()).unwrap());
    let before = std::fs::read(&file).unwrap();
    let reader = DurableSpace::open_read_only(dir.path()).unwrap();
    let other = DurableSpace::open_read_only(dir.path()).unwrap();
    assert!(matches!(DurableSpace::open(dir.path()), Err(SpaceError::Locked(_))));
    assert!(fsck(&reader).await.unwrap().is_clean());
    assert_eq!(reader.tips(None).await.unwrap(), other.tips(None).await.unwrap());
    let refused = reader.commit(Commit { records: vec![("a".into(), None)], ..Default::default() }).await;
    assert!(matches!(refused, Err(CommitError::Space(SpaceError::Permission(_)))));
    drop((reader, other));
    assert!(std::fs::read(&file).unwrap() == before);
    let writer = DurableSpace::open(dir.path()).unwrap();
    assert!(matches!(DurableSpace::open_read_only(dir.path()), Err(SpaceError::Locked(_))));
    drop(writer);
}
