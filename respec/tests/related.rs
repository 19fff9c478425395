//! Who syncs one timeline gets every timeline that it relates to, from either side, to any depth, cycles included; with
//! what each of them needs merged. Only the first timeline is ever named.

use ibgib_respec::rigs::Rig;
use ibgib_scenarios::faults::Faults;
use ibgib_scenarios::play::{Play, Played, Side, data};
use std::collections::BTreeMap;

const OURS: [&str; 5] = ["ours1", "ours2", "ours3", "ours4", "ours5"];
const THEIRS: [&str; 5] = ["theirs1", "theirs2", "theirs3", "theirs4", "theirs5"];

/// Syncs with the scope `alpha` only.
async fn sync(play: &mut Play) -> Played<()> {
    let all = std::mem::take(&mut play.docs);
    play.docs = BTreeMap::from([("alpha", all["alpha"].clone())]);
    let synced = play.sync().await;
    play.docs = all;
    synced
}

async fn start(play: &mut Play) -> Played<()> {
    play.make_identity("related", None).await?;
    play.make(Side::Source, "alpha", data([("text", "one\n".into())])).await?;
    sync(play).await
}

/// `from` relates to the first of new timelines, each relates to the next.
async fn chain(play: &mut Play, side: Side, from: &'static str, names: &[&'static str]) -> Played<()> {
    let mut before = from;
    // The last first, so that each relates to frames that are not the newest any more.
    for name in names {
        play.make(side, name, data([("title", (*name).into())])).await?;
    }
    for name in names {
        let tjp = play.doc(name)?;
        play.relate(side, before, "next", &tjp).await?;
        before = name;
    }
    Ok(())
}

/// All documents have one tip on both sides, with their whole graphs.
async fn equal(play: &mut Play) -> Played<()> {
    for name in play.docs.keys().copied().collect::<Vec<_>>() {
        let (a, b) = (play.tip(Side::Source, name).await?, play.tip(Side::Dest, name).await?);
        assert_eq!(a.addr(), b.addr(), "{name}");
        play.check_graph(name, a.addr()).await;
    }
    assert!(play.checks.iter().all(|c| c.passed), "{:?}", play.checks);
    Ok(())
}

async fn sender_relates_a_chain(play: &mut Play) -> Played<()> {
    start(play).await?;
    chain(play, Side::Source, "alpha", &OURS).await?;
    sync(play).await?;
    equal(play).await
}

async fn receiver_relates_a_chain(play: &mut Play) -> Played<()> {
    start(play).await?;
    chain(play, Side::Dest, "alpha", &THEIRS).await?;
    sync(play).await?;
    equal(play).await
}

async fn both_relate_chains(play: &mut Play) -> Played<()> {
    start(play).await?;
    chain(play, Side::Source, "alpha", &OURS).await?;
    chain(play, Side::Dest, "alpha", &THEIRS).await?;
    sync(play).await?;
    let tip = play.tip(Side::Dest, "alpha").await?;
    assert_eq!(tip.rel8n("next").count(), 2, "{tip:?}");
    equal(play).await
}

async fn cycles_on_both_sides(play: &mut Play) -> Played<()> {
    start(play).await?;
    for (side, names) in [(Side::Source, OURS), (Side::Dest, THEIRS)] {
        chain(play, side, "alpha", &names).await?;
        let (alpha, second) = (play.doc("alpha")?, play.doc(names[1])?);
        play.relate(side, names[4], "back", &alpha).await?;
        play.relate(side, names[3], "back", &second).await?;
        let itself = play.doc(names[2])?;
        play.relate(side, names[2], "itself", &itself).await?;
    }
    sync(play).await?;
    equal(play).await
}

async fn what_lies_deep_diverges(play: &mut Play) -> Played<()> {
    start(play).await?;
    chain(play, Side::Source, "alpha", &OURS).await?;
    sync(play).await?;
    // Only the fifth changes, on both sides; it relates to more on one of them.
    play.edit(Side::Source, "ours5", data([("source", true.into())])).await?;
    play.edit(Side::Dest, "ours5", data([("dest", true.into())])).await?;
    chain(play, Side::Dest, "ours5", &THEIRS).await?;
    sync(play).await?;
    let tip = play.tip(Side::Source, "ours5").await?;
    assert!(tip.datum("source").is_some() && tip.datum("dest").is_some());
    assert_eq!(tip.rel8n("graftorphan").count(), 1);
    equal(play).await?;
    // A member of the chain that only the sender relates further, while only the receiver changed the first.
    play.edit(Side::Dest, "alpha", data([("dest", true.into())])).await?;
    play.make(Side::Source, "last", data([("title", "last".into())])).await?;
    let last = play.doc("last")?;
    play.relate(Side::Source, "theirs5", "next", &last).await?;
    sync(play).await?;
    equal(play).await
}

macro_rules! on_rigs {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use super::*;
            #[test]
            fn simulation() {
                let faults = Faults { seed: 11, delay_ms_max: 300, ..Faults::default() };
                let mut builder = tokio::runtime::Builder::new_current_thread();
                builder.enable_all().start_paused(true).build().unwrap().block_on(async {
                    let rig = Rig::simulation("related", false, faults);
                    super::$name(&mut Play::new(rig.scene.clone())).await.unwrap();
                    rig.close().await;
                });
            }
            #[tokio::test]
            async fn websocket() {
                let rig = Rig::websocket("related").await.unwrap();
                let mut play = Play::new(rig.scene.clone());
                super::$name(&mut play).await.unwrap();
                drop(play);
                rig.close().await;
            }
        }
    )*};
}

on_rigs!(
    sender_relates_a_chain,
    receiver_relates_a_chain,
    both_relate_chains,
    cycles_on_both_sides,
    what_lies_deep_diverges
);
