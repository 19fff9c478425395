//! Every scenario on every rig, by name; with the same ending on all of them.

use ibgib_respec::rigs::Rig;
use ibgib_scenarios::faults::Faults;
use ibgib_scenarios::play::{Check, Play};
use ibgib_scenarios::{find, run};

const SEED: &str = "respec";

/// Runs on one thread with a clock that only moves when everybody waits.
fn simulated<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap().block_on(work)
}

fn real<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

async fn play(phase: &str, rig: Rig) -> (Vec<Check>, Vec<String>) {
    let scenario = find(phase).unwrap();
    let mut play = Play::new(rig.scene.clone());
    run(&*scenario, &mut play).await.unwrap_or_else(|e| panic!("{phase}: {e}"));
    for check in &play.checks {
        assert!(check.passed, "{phase}: {}: {}", check.sentence, check.evidence);
    }
    assert!(!play.checks.is_empty());
    let ending = play.ending().await.unwrap();
    let checks = std::mem::take(&mut play.checks);
    drop(play);
    rig.close().await;
    (checks, ending)
}

fn simulation(phase: &str, with_identity: bool) -> (Vec<Check>, Vec<String>) {
    let faults = Faults { seed: 7, delay_ms_max: 900, ..Faults::default() };
    simulated(async { play(phase, Rig::simulation(SEED, with_identity, faults)).await })
}

fn innerspace(phase: &str, with_identity: bool) -> (Vec<Check>, Vec<String>) {
    real(async { play(phase, Rig::innerspace(SEED, with_identity)).await })
}

fn websocket(phase: &str) -> (Vec<Check>, Vec<String>) {
    real(async { play(phase, Rig::websocket(SEED).await.unwrap()).await })
}

/// One module per scenario, one test per rig.
macro_rules! scenarios {
    ($($name:ident: $phase:literal),* $(,)?) => {$(
        mod $name {
            #[test]
            fn simulation() {
                super::simulation($phase, true);
            }
            #[test]
            fn simulation_without_identity() {
                super::simulation($phase, false);
            }
            #[test]
            fn innerspace() {
                super::innerspace($phase, true);
            }
            #[test]
            fn innerspace_without_identity() {
                super::innerspace($phase, false);
            }
            #[test]
            fn websocket() {
                super::websocket($phase);
            }
            #[test]
            fn ends_the_same_on_every_rig() {
                let (_, expected) = super::websocket($phase);
                assert_eq!(super::innerspace($phase, true).1, expected);
                assert_eq!(super::simulation($phase, true).1, expected);
                let tips = |ending: Vec<String>| ending.into_iter().filter(|l| l.contains('^')).collect::<Vec<_>>();
                assert_eq!(tips(super::innerspace($phase, false).1), tips(expected));
            }
        }
    )*};
}

scenarios! {
    basic_push: "4.1",
    constants: "4.2",
    partial_update: "4.3",
    deep_updates: "4.4",
    dest_ahead: "4.5",
    multiple_timelines: "4.6",
    conflict_basic_divergence: "4.7",
    conflict_basic_multitimelines: "4.8",
    conflict_text_merge: "4.9",
    conflict_adv_multitimelines: "4.10",
}

/// The seed's own sentences, each a test on each rig.
macro_rules! sentences {
    ($($module:ident: $phase:literal { $($test:ident: $sentence:literal),* $(,)? })*) => {$(
        mod $module {
            mod simulation {
                $(#[test] fn $test() { super::super::said(super::super::simulation($phase, true), $sentence); })*
            }
            mod innerspace {
                $(#[test] fn $test() { super::super::said(super::super::innerspace($phase, true), $sentence); })*
            }
            mod websocket {
                $(#[test] fn $test() { super::super::said(super::super::websocket($phase), $sentence); })*
            }
        }
    )*};
}

/// [`play`] has seen to it that every check passed; this one has to be among them.
fn said((checks, _): (Vec<Check>, Vec<String>), sentence: &str) {
    assert!(checks.iter().any(|c| c.sentence == sentence), "nobody checked that {sentence}");
}

sentences! {
    phase_1_establish_session_identity: "1" {
        creates_session_identity_genesis_s_locally: "creates sessionIdentity genesis (S) locally",
        evolves_sender_identity_with_sync_claim: "evolves senderIdentity (I → I1) with sync claim",
        posts_i1_and_s_to_dest_space: "posts I1 and S to destSpace (receiver)",
    }
    phase_2_connect: "2" {
        connect_completes_without_error: "connect completes without error",
        connect_pool_is_depleted_by_exactly_one_challenge: "connect pool is depleted by exactly one challenge",
        proof_frame_is_registered_as_tip: "the proof frame is registered as S's tip on the receiver",
    }
    phase_3_pingpong: "3" {
        alpha_dep_graph_matches_on_source_and_dest: "alpha dep graph matches on source and dest",
        session_identity_evolved_the_expected_number_of_times:
            "sessionIdentity evolved the expected number of times",
        session_identity_evolved_once_per_sync_turn: "sessionIdentity evolved once per sync turn",
        sender_durable_space_has_i: "sender durable space has I (evolved frame)",
        receiver_durable_space_has_i: "receiver durable space has I (evolved frame)",
        sender_durable_space_has_full_s_dep_graph: "sender durable space has full S dep graph",
        receiver_durable_space_has_full_s_dep_graph: "receiver durable space has full S dep graph",
    }
}
