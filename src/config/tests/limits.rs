//! What a listener bears, as it was written and as it fits into the process.

use super::*;
use crate::server::{HeadLimits, Times};

#[test]
fn every_limit_is_what_was_written() {
    let config = load(
        "[limits]\nmax_in_flight = 1\nconnections = 2\nconnections_per_peer = 3\nhead_size = \"4KiB\"\nhead_fields = 5\n\
         target_size = \"600B\"\nbody_size = \"7KiB\"\n[limits.timeouts]\nhandshake = \"8s\"\nhead = \"9s\"\nbody = \"10s\"\n\
         idle = \"11s\"\nsend = \"12s\"\nage = \"13s\"\n",
    );
    let s = Duration::from_secs;
    let last_words = Duration::from_millis(500);
    let times = Times { handshake: s(8), head: s(9), idle: s(11), send: s(12), age: s(13), last_words };
    let head = HeadLimits { size: 4096, fields: 5, target: 600 };
    let server = server::Limits { connections: 2, connections_per_peer: Some(3), head, times };
    let limits = Limits { max_in_flight: 1, server, body: BodyLimits { size: 7168, time: s(10) } };
    assert_eq!(config.unwrap().limits, limits);
}

#[test]
fn a_head_has_room_for_its_target_and_each_size_says_its_bounds() {
    let (keys, said) = wrong("[limits]\nhead_size = \"2KiB\"\nbody_size = \"1GiB\"\n");
    assert_eq!(keys, ["limits.body_size", "limits.head_size"]);
    assert!(said.contains("\"1GiB\" is more than 8MiB") && said.contains("from 1KiB to 8MiB"), "{said}");
    assert!(said.contains("\"2KiB\" is less than limits.target_size, \"8KiB\""), "{said}");
    assert!(load("[limits]\nhead_size = \"2KiB\"\ntarget_size = \"2KiB\"\n").is_ok());
}

#[test]
fn connections_that_do_not_fit_into_the_process_are_fewer_and_it_is_said() {
    let loaded = || Config::load(&environment(&[])).unwrap();
    let roomy = loaded().within(20_000);
    assert_eq!((roomy.limits.server.connections, roomy.warnings()), (16_384, Vec::new()));

    let narrow = loaded().within(4096);
    assert_eq!(narrow.limits.server.connections, 2832);
    let shown: Json = serde_json::from_slice(&narrow.effective.to_json()).unwrap();
    assert_eq!(shown["limits.connections"]["value"], 2832);
    let source = "default, lowered from 16384 to fit into the files that the process may have open";
    assert_eq!(shown["limits.connections"]["source"], source);
    let warnings = narrow.warnings();
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    for number in ["16384", "4096 files", "at most 2832", "let it open 17728"] {
        assert!(warning.contains(number), "{number}: {warning}");
    }
    assert_eq!(loaded().within(17_728).warnings(), Vec::<String>::new(), "what it asked for is enough");
}

#[test]
fn every_limit_has_bounds_and_the_edges_are_inside() {
    for (key, value) in [
        ("limits.connections", "0"),
        ("limits.connections", "1048577"),
        ("limits.connections_per_peer", "0"),
        ("limits.connections_per_peer", "-1"),
        ("limits.head_size", "65537"),
        ("limits.head_size", "1023"),
        ("limits.head_size", "wide"),
        ("limits.head_size", "8191"),
        ("limits.head_fields", "0"),
        ("limits.head_fields", "101"),
        ("limits.target_size", "255B"),
        ("limits.target_size", "65KiB"),
        ("limits.body_size", "1023"),
        ("limits.body_size", "9MiB"),
        ("limits.timeouts.handshake", "0s"),
        ("limits.timeouts.handshake", "301s"),
        ("limits.timeouts.head", "6m"),
        ("limits.timeouts.body", "6m"),
        ("limits.timeouts.idle", "61m"),
        ("limits.timeouts.send", "never"),
        ("limits.timeouts.age", "8d"),
    ] {
        let problems = set(key, value).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, [key], "{key}={value}: {problems}");
        assert!(problems.iter().all(|problem| problem.source == "flag --set" && !problem.fix.is_empty()), "{problems}");
    }
    for (key, value) in [
        ("limits.connections", "1"),
        ("limits.connections", "1048576"),
        ("limits.connections_per_peer", "1"),
        ("limits.head_size", "8KiB"),
        ("limits.head_size", "64KiB"),
        ("limits.head_fields", "1"),
        ("limits.target_size", "256B"),
        ("limits.target_size", "64KiB"),
        ("limits.body_size", "1KiB"),
        ("limits.body_size", "8MiB"),
        ("limits.timeouts.handshake", "1ms"),
        ("limits.timeouts.idle", "1h"),
        ("limits.timeouts.age", "7d"),
    ] {
        assert!(set(key, value).is_ok(), "{key}={value}: {}", set(key, value).unwrap_err());
    }
}
