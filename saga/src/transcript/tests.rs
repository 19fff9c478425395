use super::*;
use crate::wire::turn::{Asked, Told, TurnLink};

const ASKED: Asked = Asked { commit: true, adopt: true };
const TOLD: Told = Told { merges: 0, conflicts: 0 };

fn turn(saga_id: &str, session: Option<&Addr>, before: Option<&Turn>, stage: Stage) -> Turn {
    let nothing = || Measure::of_nodes(&[]);
    Turn::build(TurnLink { saga_id, session, before }, stage, nothing(), nothing(), 0)
}

fn session(n: usize) -> Addr {
    Addr::new("keystone", &format!("{n:064}")).unwrap()
}

#[test]
fn a_saga_starts_with_init_and_goes_on_in_turns() {
    let mut transcript = Transcript::new("saga".into(), None);
    let nothing = || Measure::of_nodes(&[]);
    assert!(transcript.follows(&turn("saga", None, None, Stage::Delta(ASKED))).is_err());
    assert!(transcript.follows(&turn("saga", None, None, Stage::Ack(TOLD))).is_err());
    for stage in [Stage::Init(ASKED), Stage::Ack(TOLD), Stage::Delta(ASKED), Stage::Commit(TOLD)] {
        let next = transcript.next(stage, nothing(), nothing(), 0);
        transcript.follows(&next).unwrap();
        transcript.add(next);
    }
    assert_eq!(transcript.sender_turns(), 2);
    let turns = transcript.into_turns();
    assert_eq!(turns.iter().map(Turn::n).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(turns.iter().all(|t| t.tjp() == *turns[0].frame().addr()));
}

#[test]
fn a_turn_that_does_not_follow_is_refused_by_what_is_wrong() {
    let s = session(1);
    let mut transcript = Transcript::new("saga".into(), Some(s.clone()));
    let first = turn("saga", Some(&s), None, Stage::Init(ASKED));
    let answer = turn("saga", Some(&s), Some(&first), Stage::Ack(TOLD));
    let second = turn("saga", Some(&s), Some(&answer), Stage::Delta(ASKED));
    for turn in [&first, &answer, &second] {
        transcript.add(turn.clone());
    }
    assert!(transcript.follows(&turn("saga", Some(&s), Some(&second), Stage::Commit(TOLD))).is_ok());
    let cases = [
        ("another saga's id", turn("other", Some(&s), Some(&second), Stage::Commit(TOLD))),
        ("another session identity", turn("saga", None, Some(&second), Stage::Commit(TOLD))),
        ("another session identity", turn("saga", Some(&session(2)), Some(&second), Stage::Commit(TOLD))),
        ("past is not our last", turn("saga", Some(&s), Some(&first), Stage::Commit(TOLD))),
        ("n is not the next", answer),
        ("a stage out of turn", turn("saga", Some(&s), Some(&second), Stage::Delta(ASKED))),
        ("init after the first turn", turn("saga", Some(&s), Some(&second), Stage::Init(ASKED))),
        ("another transcript", turn("saga", Some(&s), None, Stage::Init(Asked { commit: false, ..ASKED }))),
    ];
    for (what, turn) in cases {
        let error = transcript.follows(&turn).expect_err(what);
        assert_eq!(error.code(), "bad_turn");
        assert!(error.to_string().contains(what), "{error} does not say {what}");
    }
}
