//! Whatever comes in, the node answers at most once a line, in JSON, and does not fall over.

use esker_node::Durability;
use proptest::prelude::*;

use crate::node::{INIT, session, talk, talk_in};

fn run_any(input: &[u8]) -> Result<(), TestCaseError> {
    let said = talk(input);
    let lines = input.split(|byte| *byte == b'\n').count();
    prop_assert!(said.replies.len() + said.notices.len() <= lines);
    for (index, reply) in said.replies.iter().enumerate() {
        let reply: serde_json::Value = serde_json::from_str(reply).unwrap();
        prop_assert_eq!(&reply["body"]["msg_id"], index);
        prop_assert!(reply["src"].is_string() && reply["dest"].is_string());
        prop_assert!(reply["body"]["type"].is_string());
    }
    Ok(())
}

/// Any JSON text, of any shape, as people and programs write it.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec!["null", "true", "false", "0", "1", "6", "-1", "1.5", "1e999"])
            .prop_map(str::to_owned),
        prop::sample::select(vec![r#""a""#, r#""""#, r#""\ud800""#, r#""put""#, r#""delete""#])
            .prop_map(str::to_owned),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        any::<i128>().prop_map(|number| number.to_string()),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let names = prop::sample::select(vec!["op", "key", "value", "x"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|all| format!("[ {} ]", all.join(" , "))),
            prop::collection::vec((names, inner), 0..4).prop_map(|all| {
                let members: Vec<_> =
                    all.iter().map(|(name, value)| format!("\"{name}\" : {value}")).collect();
                format!("{{ {} }}", members.join(" , "))
            }),
        ]
    })
}

/// A body whose type is known and whose fields hold anything. The benchmark is left out: an
/// arbitrary one takes a minute.
fn body() -> impl Strategy<Value = String> {
    let kinds = vec![
        "init",
        "lsm_put",
        "lsm_get",
        "lsm_delete",
        "lsm_scan",
        "lsm_batch",
        "lsm_read",
        "lsm_flush",
        "lsm_compact",
        "lsm_compact_status",
        "lsm_level_info",
        "lsm_stats",
        "memtable_put",
        "memtable_get",
        "memtable_scan",
        "sstable_flush",
        "sstable_lookup",
        "read",
        "write",
        "cas",
        "nothing",
    ];
    let fields = vec![
        "type",
        "msg_id",
        "key",
        "value",
        "start",
        "end",
        "prefix",
        "limit",
        "reverse",
        "ops",
        "source_level",
        "target_level",
        "memtable_size_bytes",
        "sstable",
        "from",
        "to",
        "create_if_not_exists",
        "node_id",
        "node_ids",
        "unknown",
    ];
    let field = (prop::sample::select(fields), json());
    (prop::sample::select(kinds), prop::collection::vec(field, 0..6)).prop_map(|(kind, fields)| {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| format!(",\"{name}\":{value}")).collect();
        format!("\"type\":\"{kind}\"{}", fields.concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        run_any(&bytes)?;
    }

    #[test]
    fn any_requests(bodies in prop::collection::vec(body(), 0..40)) {
        run_any(session(&bodies).as_bytes())?;
    }

    #[test]
    fn requests_with_damage(
        bodies in prop::collection::vec(body(), 1..10),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut input = session(&bodies).into_bytes();
        for (at, byte) in damage {
            let at = at.index(input.len());
            input[at] = byte;
        }
        run_any(&input)?;
    }

    #[test]
    fn any_value_under_any_key_comes_back(
        entries in prop::collection::vec((any::<String>(), json()), 1..20),
    ) {
        let puts = entries.iter().map(|(key, value)| {
            let key = serde_json::to_string(key).unwrap();
            format!(r#""type":"lsm_put","key":{key},"value":{value}"#)
        });
        let gets = entries.iter().map(|(key, _)| {
            let key = serde_json::to_string(key).unwrap();
            format!(r#""type":"lsm_get","key":{key}"#)
        });
        let newest = |key: &str| &entries.iter().rev().find(|entry| entry.0 == key).unwrap().1;
        let dir = tempfile::tempdir().unwrap();
        let input = session(puts.chain(gets.clone()));
        let said = talk_in(dir.path(), Durability::Os, input.as_bytes());
        let again = talk_in(dir.path(), Durability::Os, session(gets).as_bytes());
        for (index, (key, _)) in entries.iter().enumerate() {
            let expected = format!("\"value\":{}}}}}", compact(newest(key)));
            prop_assert!(said.replies[1 + entries.len() + index].ends_with(&expected));
            prop_assert!(again.replies[1 + index].ends_with(&expected));
        }
    }
}

/// A text of [`json`] without the spaces outside its strings.
fn compact(json: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::new(), false, false);
    for c in json.chars() {
        if !in_string && c == ' ' {
            continue;
        }
        if !escaped && c == '"' {
            in_string = !in_string;
        }
        escaped = in_string && !escaped && c == '\\';
        out.push(c);
    }
    out
}

#[test]
fn the_line_that_starts_every_session_is_accepted() {
    assert_eq!(talk(INIT).body(0)["type"], "init_ok");
}
