//! A saga that would move much is not begun before the sender's side has said so.

use crate::toy::{Connection, Ended, World, all_both_ways, frame};
use ibgib_saga::{Action, Limits, SenderInput, Summary};

/// A saga about two timelines that both sides have and one that only the sender has; so many may differ before it is asked.
fn play(moves_max: usize, goes_on: bool) -> (Summary, World, World) {
    let (mut from, mut to) = (World::default(), World::default());
    from.goes_on = goes_on;
    for name in ["one", "other"] {
        let first = frame(name, "first", None, &[]);
        from.put_all(&[&first, &frame(name, "second", Some(&first), &[])]);
        to.put_all(&[&first]);
    }
    from.put_all(&[&frame("new", "there", None, &[])]);
    let mut connection = Connection::new(&Limits::default(), None);
    let SenderInput::Sync(mut request) = all_both_ways() else { panic!("a saga") };
    request.moves_max = Some(moves_max);
    let mut ended = None;
    for input in [SenderInput::Connect(None), SenderInput::Sync(request)] {
        ended = connection.drive_to_rest(input, &mut from, &mut to);
    }
    let Some(Ended::Done(summary)) = ended else { panic!("{ended:?}") };
    (summary, from, to)
}

#[test]
fn what_is_not_to_go_on_is_told_and_moves_nothing() {
    let (summary, from, to) = play(1, false);
    assert_eq!((summary.saga, summary.turns, summary.nodes_sent), (None, 0, 3));
    assert_eq!((summary.timelines.len(), to.nodes.len()), (3, 2));
    assert!(summary.timelines.iter().all(|line| line.action == Action::Pushed));
    assert_eq!(from.foreseen, [summary.timelines]);
}

#[test]
fn what_goes_on_is_planned_once() {
    let (summary, from, to) = play(1, true);
    assert!(summary.saga.is_some());
    assert_eq!((from.foreseen.len(), to.tips), (1, from.tips));
}

#[test]
fn nobody_is_asked_where_few_timelines_differ_that_both_have() {
    let (summary, from, to) = play(2, false);
    assert!(summary.saga.is_some());
    assert_eq!((from.foreseen.len(), to.tips), (0, from.tips));
}
