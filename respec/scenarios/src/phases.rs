//! Phases 1 to 3: establishing the session identity, connecting, and one whole sync.

use super::Scenario;
use crate::play::{Play, Played, Side, data};
use async_trait::async_trait;
use ibgib::Value;
use ibgib_keystone::PoolConfig;
use ibgib_keystone::config::identity_pools;

/// Pools as the seed's rows make them, whose salts it names.
fn original(phase: &str) -> Vec<PoolConfig> {
    identity_pools(&["sync", "manage", "revoke"].map(|verb| format!("senderidentity{verb}salt{phase}")))
}

/// Phase 1.
pub(super) struct Establish;
/// Phase 2.
pub(super) struct Connect;
/// Phase 3.
pub(super) struct PingPong;

#[async_trait]
impl Scenario for Establish {
    fn phase(&self) -> &'static str {
        "1"
    }
    fn name(&self) -> &'static str {
        "establish"
    }
    fn title(&self) -> &'static str {
        "the session identity S is made, introduced by I, and delivered"
    }
    fn needs_identity(&self) -> bool {
        true
    }

    async fn setup(&self, play: &mut Play) -> Played<()> {
        play.make_identity("test-sender-secret-phase1", Some(&original("phase1"))).await
    }

    async fn sync(&self, play: &mut Play) -> Played<()> {
        let mut peer = play.new_peer();
        peer.establish_session_identity().await?;
        play.peer = Some(peer);
        Ok(())
    }

    async fn check(&self, play: &mut Play) -> Played<()> {
        let s = play.session()?.chain().tjp().clone();
        let identity = play.identity.as_ref().ok_or("no identity")?.tjp.clone();
        let local = play.scene.source.has(std::slice::from_ref(&s)).await? == [true];
        play.check("creates sessionIdentity genesis (S) locally", local, s.to_string());

        let i1 = play.scene.source.tip(&identity).await?.ok_or("I is gone")?;
        let frame = play.scene.source.node(&i1.addr).await?.ok_or("I1 is gone")?;
        let proof = frame.datum("proofs").and_then(Value::as_array).and_then(|p| p.first());
        let claim = |key: &str| proof.and_then(|p| p.get("claim")?.get(key)?.as_str());
        let claimed = i1.n == Some(1) && claim("verb") == Some("sync") && claim("target") == Some(s.as_str());
        play.check("evolves senderIdentity (I → I1) with sync claim", claimed, i1.addr.to_string());

        let there = play.scene.dest.has(&[i1.addr.clone(), s.clone()]).await? == [true, true];
        let registered = play.scene.dest.tip(&s).await?.is_some_and(|t| t.addr == s);
        play.check("posts I1 and S to destSpace (receiver)", there && registered, format!("{} {s}", i1.addr));
        Ok(())
    }
}

#[async_trait]
impl Scenario for Connect {
    fn phase(&self) -> &'static str {
        "2"
    }
    fn name(&self) -> &'static str {
        "connect"
    }
    fn title(&self) -> &'static str {
        "the sender proves the session identity on a challenge of this very connection"
    }
    fn needs_identity(&self) -> bool {
        true
    }

    async fn setup(&self, play: &mut Play) -> Played<()> {
        play.make_identity("test-sender-secret-phase2", Some(&original("phase2"))).await
    }

    async fn sync(&self, play: &mut Play) -> Played<()> {
        let mut peer = play.new_peer();
        peer.establish_session_identity().await?;
        let connected = peer.connect().await;
        let why = connected.as_ref().err().map(ToString::to_string).unwrap_or_default();
        play.check("connect completes without error", connected.is_ok(), why);
        play.peer = Some(peer);
        Ok(())
    }

    async fn check(&self, play: &mut Play) -> Played<()> {
        let chain = play.session()?.chain().clone();
        let pools = chain.pools();
        let used: Vec<usize> = pools.iter().filter(|p| p.verbs == ["connect"]).map(|p| p.used).collect();
        play.check("connect pool is depleted by exactly one challenge", used == [1], format!("{used:?} used"));
        let there = play.scene.dest.tip(chain.tjp()).await?;
        let registered = there.is_some_and(|t| t.addr == *chain.tip().addr() && t.n == Some(1));
        play.check(
            "the proof frame is registered as S's tip on the receiver",
            registered,
            chain.tip().addr().to_string(),
        );
        if let Some(peer) = &mut play.peer {
            peer.disconnect().await;
            // A second time does nothing.
            peer.disconnect().await;
        }
        Ok(())
    }
}

#[async_trait]
impl Scenario for PingPong {
    fn phase(&self) -> &'static str {
        "3"
    }
    fn name(&self) -> &'static str {
        "pingpong"
    }
    fn title(&self) -> &'static str {
        "a whole sync of one constant, every turn signed by S"
    }

    async fn setup(&self, play: &mut Play) -> Played<()> {
        play.make_identity("test-sender-secret-phase3", Some(&original("phase3")[..2])).await?;
        let random = f64::from(u32::from_le_bytes(play.moment().random[..4].try_into()?)) / f64::from(u32::MAX);
        let target = data([("hello", "world3".into()), ("random", Value::Number(random))]);
        play.make_constant(Side::Source, "alpha", target, &[]).await?;
        Ok(())
    }

    async fn sync(&self, play: &mut Play) -> Played<()> {
        play.sync().await
    }

    async fn check(&self, play: &mut Play) -> Played<()> {
        if play.scene.with_identity {
            // Init at 0, the connect handshake at 1, one signed sync context at 2.
            let turns = play.runs.first().map_or(0, |r| r.summary().turns);
            let session = play.runs.first().and_then(|r| r.synced.session.clone()).ok_or("no session")?;
            let tip = play.scene.source.node(&session).await?.ok_or("S is gone")?;
            let evolved = tip.n() == Some(2) && turns == 2;
            let evidence = format!("S.data.n = {}", tip.n().map_or("none".into(), |n| n.to_string()));
            play.check("sessionIdentity evolved the expected number of times", evolved, evidence.clone());
            play.check("sessionIdentity evolved once per sync turn", evolved, evidence);
        }
        play.check_end().await
    }
}
