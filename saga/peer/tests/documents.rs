//! Documents: several handles over one space, peers that sync, conflicts, and what is told of changes.

use ibgib_peer::prelude::*;
use std::error::Error;

type Res = Result<(), Box<dyn Error>>;

fn space(seed: &str) -> Arc<dyn Space> {
    Arc::new(MemorySpace::new(seed))
}

async fn identity(space: &Arc<dyn Space>) -> SenderIdentity {
    let secret = Secret::new(random::<32>().to_vec());
    let tjp = create_identity(&**space, &secret).await.unwrap().tjp().clone();
    SenderIdentity { tjp, secret: SecretSource::new(move || Ok(secret.clone())) }
}

fn remote(space: &Arc<dyn Space>) -> Arc<Innerspace> {
    Arc::new(Innerspace::new(Host::new(Arc::clone(space), HostOptions::default())))
}

fn map(text: &str) -> Map {
    Value::parse(text, ibgib::Mode::Strict).unwrap().as_object().unwrap().clone()
}

#[tokio::test]
async fn a_document_says_what_was_put_there() -> Res {
    let space = space("one");
    let todo = Document::create(&space, "todo", map(r#"{"title":"shop","tags":["a"]}"#)).await?;
    todo.set("/items/a~1b/state", "open").await?;
    todo.set("/tags", vec!["b".into()]).await?;
    todo.remove("/title").await?;
    let same = todo.remove("/title").await?;
    assert_eq!(todo.frame().await?.addr, same, "nothing to do makes no frame");
    assert_eq!(Value::from(todo.data().await?).to_json(), r#"{"tags":["b"],"items":{"a/b":{"state":"open"}}}"#);
    assert_eq!(todo.get("/items/a~1b/state").await?, Some("open".into()));
    assert_eq!(todo.get("/tags/0").await?, Some("b".into()));
    assert_eq!(todo.get("/nothing").await?, None);
    let frames: Vec<Frame> = todo.history().try_collect().await?;
    assert_eq!(frames.iter().map(|f| f.n).collect::<Vec<_>>(), [4, 3, 2, 1, 0]);
    assert_eq!(todo.at(&frames[3].addr).await?.data, map(r#"{"title":"shop","tags":["a"]}"#));
    assert_eq!(Document::all(&space, "todo").await?.len(), 1);
    assert_eq!(Document::all(&space, "note").await?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_is_told_and_changes_nothing() -> Res {
    let space = space("one");
    let todo = Document::create(&space, "todo", Map::new()).await?;
    let me = identity(&space).await;
    for ib in ["keystone", "saga x"] {
        assert!(matches!(Document::create(&space, ib, Map::new()).await, Err(DocumentError::Name(_))), "{ib}");
    }
    for ib in ["", "a^b"] {
        assert!(matches!(Document::create(&space, ib, Map::new()).await, Err(DocumentError::Data(_))), "{ib}");
    }
    assert!(matches!(Document::open(&space, &me.tjp).await, Err(DocumentError::NotADocument(_))));
    let elsewhere = Document::create(&self::space("two"), "todo", Map::new()).await?;
    assert!(matches!(Document::open(&space, elsewhere.address()).await, Err(DocumentError::NotFound(_))));
    assert!(matches!(todo.at(elsewhere.address()).await, Err(DocumentError::NotAFrame(_))));
    todo.set("/text", "x").await?;
    let before = todo.frame().await?;
    for pointer in ["", "text", "/text/x"] {
        assert!(matches!(todo.set(pointer, "y").await, Err(DocumentError::Pointer(_))), "{pointer}");
    }
    assert!(matches!(todo.set("/n", 7u32).await, Err(DocumentError::Data(_))));
    assert!(matches!(todo.edit(|data| drop(data.insert("uuid", "x"))).await, Err(DocumentError::Data(_))));
    assert_eq!(todo.frame().await?, before);
    assert_eq!(Document::all(&space, "todo").await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_through_several_handles_all_count() -> Res {
    let space = space("one");
    let counter = Document::create(&space, "counter", map(r#"{"count":0}"#)).await?;
    let mut tasks = Vec::new();
    for task in 0..4u32 {
        let counter = Document::open(&space, counter.address()).await?;
        tasks.push(tokio::spawn(async move {
            for round in 0..10u32 {
                let edit = |data: &mut Map| {
                    let count = data.get("count").and_then(Value::as_u53).unwrap_or_default() as u32;
                    data.insert("count", count + 1);
                    data.insert(format!("{task}/{round}"), true);
                };
                counter.edit(edit).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await?;
    }
    let data = counter.data().await?;
    assert_eq!(data.get("count").and_then(Value::as_u53), Some(40));
    assert_eq!(data.len(), 41);
    assert_eq!(counter.conflicts().await?, []);
    Ok(())
}

#[tokio::test]
async fn an_edit_of_an_older_frame_is_merged_with_what_came_since() -> Res {
    let space = space("one");
    let note = Document::create(&space, "note", map(r#"{"body":"one\ntwo\nthree\n","state":"draft"}"#)).await?;
    let seen = note.frame().await?.addr;
    note.set("/body", "one\ntwo\nTHREE\n").await?;
    let mine = note.edit_from(&seen, |data| drop(data.insert("body", "ONE\ntwo\nthree\n"))).await?;
    assert_eq!(note.get("/body").await?, Some("ONE\ntwo\nTHREE\n".into()));
    assert_eq!(note.at(&mine).await?.data.get("body"), Some(&"ONE\ntwo\nthree\n".into()));
    assert_eq!(note.conflicts().await?, []);

    note.set("/state", "sent").await?;
    note.edit_from(&mine, |data| drop(data.insert("state", "dropped"))).await?;
    let [conflict] = &note.conflicts().await?[..] else { panic!("one conflict") };
    assert_eq!((conflict.path.as_str(), &conflict.ancestor), ("/data/state", &Some("draft".into())));
    note.resolve(conflict, Resolution::Orphan).await?;
    assert_eq!(note.get("/state").await?, conflict.orphan);
    assert_eq!(note.frame().await?.conflicts, 0);
    assert!(matches!(note.resolve(conflict, Resolution::Keep).await, Err(DocumentError::Settled(_))));
    Ok(())
}

#[tokio::test]
async fn peers_merge_and_agree_how_a_conflict_was_settled() -> Res {
    let (alice, bob) = (space("alice"), space("bob"));
    let (me, remote) = (identity(&alice).await, remote(&bob));
    let ours = Document::create(&alice, "todo", map(r#"{"list":["x"],"v":1}"#)).await?;
    sync(&alice, remote.clone(), &me).await?;
    let theirs = Document::open(&bob, ours.address()).await?;
    ours.set("/list", vec!["x".into(), "a".into()]).await?;
    ours.set("/v", 2u32).await?;
    theirs.set("/list", vec!["b".into(), "x".into()]).await?;
    theirs.set("/v", 3u32).await?;
    let synced = sync(&alice, remote.clone(), &me).await?;
    assert_eq!((synced.summary.merges, synced.summary.conflicts), (1, 1));
    assert_eq!(ours.frame().await?, theirs.frame().await?);
    let list = vec![Value::from("b"), "x".into(), "a".into()];
    assert_eq!(ours.get("/list").await?, Some(list.into()));
    let [conflict] = &theirs.conflicts().await?[..] else { panic!("one conflict") };
    theirs.resolve(conflict, Resolution::Ancestor).await?;
    sync(&alice, remote, &me).await?;
    assert_eq!(ours.get("/v").await?, Some(1u32.into()));
    assert_eq!(ours.conflicts().await?, []);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn followers_tell_each_others_changes() -> Res {
    let hub = space("hub");
    let (alice, bob) = (space("alice"), space("bob"));
    let ours = Document::create(&alice, "todo", Map::new()).await?;
    let mut following = Vec::new();
    for space in [&alice, &bob] {
        let me = identity(space).await;
        let mut handle = follow(space, remote(&hub), &me);
        handle.next().await.unwrap()?;
        following.push(handle);
    }
    let theirs = Document::open(&bob, ours.address()).await?;
    let mut changes = theirs.changes();
    assert_eq!(changes.next().await.unwrap()?.data, Map::new());
    ours.set("/milk", "open").await?;
    assert_eq!(changes.next().await.unwrap()?.data, map(r#"{"milk":"open"}"#));
    let mut ours = ours.changes().skip(1);
    theirs.set("/milk", "done").await?;
    assert_eq!(ours.next().await.unwrap()?.data, map(r#"{"milk":"done"}"#));
    assert_eq!(changes.next().await.unwrap()?.data, map(r#"{"milk":"done"}"#));
    // Once the handles are gone, nothing is carried any more, and an identity that is unknown ends following at once.
    drop(following);
    let nobody = SenderIdentity { tjp: theirs.address().clone(), secret: SecretSource::new(|| Err("none".into())) };
    let mut handle = follow(&bob, remote(&hub), &nobody);
    assert!(handle.next().await.unwrap().is_err());
    assert!(handle.next().await.is_none());
    Ok(())
}
