use super::*;

fn addr() -> Addr {
    Addr::new("note", &"A".repeat(64)).unwrap()
}

#[test]
fn every_line_is_read_as_it_was_written() {
    let senders = [
        SenderLine::Timeline { tjp: addr(), tip: None, theirs: None },
        SenderLine::Timeline { tjp: addr(), tip: Some(addr()), theirs: None },
        SenderLine::Timeline { tjp: addr(), tip: None, theirs: Some(addr()) },
        SenderLine::Constant(addr()),
        SenderLine::Want(addr()),
    ];
    for line in senders {
        assert_eq!(SenderLine::parse(&line.to_json()).unwrap(), line);
    }
    let known = [Ancestry::Same, Ancestry::Behind, Ancestry::Ahead, Ancestry::Diverged].map(Status::Known);
    for status in known.into_iter().chain([Status::Unknown, Status::Refused("why".into())]) {
        for tip in [None, Some(addr())] {
            let line = ReceiverLine { tjp: addr(), status: status.clone(), tip };
            assert_eq!(ReceiverLine::parse(&line.to_json()).unwrap(), line);
            assert!(SenderLine::parse(&line.to_json()).is_err(), "a sender tells no statuses");
        }
    }
}

#[test]
fn lines_that_lack_something_or_hold_something_else_are_refused() {
    let addr = addr();
    let senders = [
        "".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "{\"tip\":null}".to_owned(),
        "{\"constant\":1}".to_owned(),
        "{\"want\":\"no address\"}".to_owned(),
        "{\"tjp\":[]}".to_owned(),
        format!("{{\"tjp\":\"{addr}\",\"tip\":7}}"),
        format!("{{\"tjp\":\"{addr}\",\"theirs\":\"x\"}}"),
    ];
    for text in senders {
        assert_eq!(SenderLine::parse(&text).unwrap_err().code(), "bad_list", "{text}");
    }
    let receivers = [
        "{}".to_owned(),
        "{\"status\":\"same\"}".to_owned(),
        format!("{{\"tjp\":\"{addr}\"}}"),
        format!("{{\"tjp\":\"{addr}\",\"status\":\"other\"}}"),
        format!("{{\"tjp\":\"{addr}\",\"status\":true}}"),
        format!("{{\"tjp\":\"{addr}\",\"status\":\"refused\"}}"),
        format!("{{\"tjp\":\"{addr}\",\"status\":\"refused\",\"why\":1}}"),
        format!("{{\"tjp\":\"{addr}\",\"status\":\"same\",\"tip\":\"x\"}}"),
    ];
    for text in receivers {
        assert_eq!(ReceiverLine::parse(&text).unwrap_err().code(), "bad_list", "{text}");
    }
}
