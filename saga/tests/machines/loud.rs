//! Whatever cannot happen is told loudly, on both sides: a shell that answers another question than the one asked
//! ends the connection with an error that says so, at every point of a conversation, and never stalls it.

use crate::toy::{Connection, World, constant, frame};
use ibgib_saga::{
    Direction, Limits, OwnTips, Packet, Peeked, ReceiverAnswer, ReceiverInput, ReceiverOutput, ReceiverQuery,
    SagaError, Scope, SenderAnswer, SenderInput, SenderOutput, SenderQuery, SyncRequest,
};
use std::collections::VecDeque;

/// How a conversation ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    Sender(SagaError),
    Receiver(SagaError),
}

/// Worlds with a push that needs a turn of its own, a pull and a constant; small pieces.
fn worlds() -> (World, World, Limits) {
    let first = frame("note", "first", None, &[]);
    let second = frame("note", "second", Some(&first), &[]);
    let other = frame("other", "theirs", None, &[]);
    let leaf = constant("leaf", "a constant");
    let (mut from, mut to) = (World::default(), World::default());
    from.put_all(&[&first, &second, &leaf]);
    to.put_all(&[&first, &other]);
    (from, to, Limits { inline_bytes_max: 1, chunk_bytes: 64, ..Limits::default() })
}

/// Runs a saga, and counts the questions; the `at`th one, of whichever side, is answered as if it were another.
fn run(at: Option<usize>) -> (End, usize) {
    let (mut from, mut to, limits) = worlds();
    let session = from.make_session();
    let mut connection = Connection::new(&limits, Some(session.clone()));
    let connect = SenderInput::Connect(Some((session.tjp().clone(), session.tip().addr().clone())));
    let (mut to_sender, mut to_receiver) = (VecDeque::from([connect]), VecDeque::new());
    let mut asked = 0;
    loop {
        if let Some(input) = to_sender.pop_front() {
            connection.sender.handle(input);
            while let Some(output) = connection.sender.poll() {
                match output {
                    SenderOutput::Send(packet) => to_receiver.push_back(ReceiverInput::Packet(packet)),
                    SenderOutput::Ask(query) => {
                        let answer = match &query {
                            SenderQuery::Stage(_) if at == Some(asked) => SenderAnswer::Tips(OwnTips::default()),
                            _ if at == Some(asked) => SenderAnswer::Stage,
                            _ => from.answer_as_sender(query),
                        };
                        asked += 1;
                        to_sender.push_front(SenderInput::Answer(answer));
                    }
                    SenderOutput::Connected => to_sender.push_back(SenderInput::Sync(Box::new(SyncRequest {
                        saga_id: "saga".into(),
                        scope: Scope::All,
                        direction: Direction::Both,
                        skip_when_equal: true,
                        dry_run: false,
                        moves_max: None,
                    }))),
                    SenderOutput::Done(_) => return (End::Done, asked),
                    SenderOutput::Glanced(_) => panic!("nobody asked"),
                    SenderOutput::Failed(error) => return (End::Sender(error), asked),
                }
            }
        } else if let Some(input) = to_receiver.pop_front() {
            connection.receiver.handle(input);
            while let Some(output) = connection.receiver.poll() {
                match output {
                    ReceiverOutput::Send(packet) => to_sender.push_back(SenderInput::Packet(packet)),
                    ReceiverOutput::Ask(query) => {
                        let answer = match &query {
                            ReceiverQuery::Stage(_) if at == Some(asked) => ReceiverAnswer::Peek(Peeked::default()),
                            _ if at == Some(asked) => ReceiverAnswer::Stage,
                            _ => to.answer_as_receiver(query, Some(&session)),
                        };
                        asked += 1;
                        to_receiver.push_front(ReceiverInput::Answer(Box::new(answer)));
                    }
                    ReceiverOutput::Connected | ReceiverOutput::Done(_) => {}
                    ReceiverOutput::Closed(error) => return (End::Receiver(error.unwrap()), asked),
                }
            }
        } else {
            panic!("the conversation stalls after {asked} questions");
        }
    }
}

#[test]
fn an_answer_to_another_question_ends_the_connection_loudly_at_every_point() {
    let (end, questions) = run(None);
    assert_eq!(end, End::Done);
    assert!(questions > 15, "{questions}");
    for at in 0..questions {
        match run(Some(at)).0 {
            End::Sender(error) | End::Receiver(error) => assert_eq!(error.code(), "internal", "question {at}: {error}"),
            End::Done => panic!("question {at}: done all the same"),
        }
    }
}

#[test]
fn messages_out_of_turn_end_the_connection_on_both_sides() {
    let texts = [
        "{\"type\":\"hello\",\"session\":null,\"versions\":[]}",
        "{\"type\":\"connect_challenge\"}",
        "{\"type\":\"connect_proof\"}",
        "{\"type\":\"peek_ok\"}",
        "{\"type\":\"sync_frame_response\"}",
    ];
    for text in texts {
        let (mut from, mut to, limits) = worlds();
        for packet in [Packet::Text(text.to_owned()), Packet::Binary(vec![1])] {
            let mut receiver = Connection::new(&limits, None);
            receiver.connect(&mut from, &mut to);
            receiver.receiver.handle(ReceiverInput::Packet(packet.clone()));
            let mut last = None;
            while let Some(output) = receiver.receiver.poll() {
                last = Some(output);
            }
            let Some(ReceiverOutput::Closed(Some(error))) = last else { panic!("{last:?}") };
            assert_eq!(error.code(), "out_of_turn", "{text}");
            let mut sender = Connection::new(&limits, None);
            sender.connect(&mut from, &mut to);
            sender.sender.handle(SenderInput::Packet(packet));
            let mut last = None;
            while let Some(output) = sender.sender.poll() {
                last = Some(output);
            }
            let Some(SenderOutput::Failed(error)) = last else { panic!("{last:?}") };
            assert_eq!(error.code(), "out_of_turn", "{text}");
        }
    }
}
