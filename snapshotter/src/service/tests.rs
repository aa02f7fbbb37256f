use super::*;

fn change(labels: &[(&str, &str)], mask: Option<&[&str]>) -> Result<LabelChange> {
    let info = InfoMessage {
        name: "s".to_owned(),
        labels: labels.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect(),
        ..InfoMessage::default()
    };
    let mask = mask.map(|paths| prost_types::FieldMask {
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
    });
    label_change(info, mask)
}

#[test]
fn masks() {
    let given: &[(&str, &str)] = &[("a", "1"), ("b.c/d", "2")];
    let all =
        || LabelChange::Replace(given.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect());
    let some = |pairs: &[(&str, Option<&str>)]| {
        LabelChange::Set(pairs.iter().map(|&(k, v)| (k.to_owned(), v.map(str::to_owned))).collect())
    };
    for (mask, expected) in [
        (None, all()),
        (Some(&[][..]), all()),
        (Some(&["labels"]), all()),
        (Some(&["labels.a", "labels"]), all()),
        (Some(&["labels", "labels.x"]), all()),
        (Some(&["labels.a"]), some(&[("a", Some("1"))])),
        (Some(&["labels.a", "labels.a"]), some(&[("a", Some("1"))])),
        (Some(&["labels.b.c/d", "labels.x"]), some(&[("b.c/d", Some("2")), ("x", None)])),
    ] {
        assert_eq!(change(given, mask).unwrap(), expected, "{mask:?}");
    }
    for mask in [
        &["parent"][..],
        &["kind"],
        &["labels.a", "name"],
        &["Labels"],
        &["labelsa"],
        &[""],
        &["x.labels"],
    ] {
        assert!(matches!(change(given, Some(mask)), Err(Error::InvalidArgument(_))), "{mask:?}");
    }
}

#[test]
fn times_keep_their_nanoseconds() {
    for (nanos, seconds, rest) in
        [(0, 0, 0), (1_500_000_001, 1, 500_000_001), (-1, -1, 999_999_999)]
    {
        let message = time_message(Timestamp(nanos));
        assert_eq!((message.seconds, message.nanos), (seconds, rest));
    }
}

/// A snapshot may have been recorded before there were limits.
#[test]
fn messages_of_a_list_fit_into_what_clients_accept() {
    let info = |length: usize| InfoMessage {
        labels: [("k".to_owned(), "v".repeat(length))].into(),
        ..InfoMessage::default()
    };
    for (lengths, expected) in [
        (vec![], vec![]),
        (vec![10; 250], vec![100, 100, 50]),
        (vec![65_536; 70], vec![64, 6]),
        (vec![4_000_000; 5], vec![2, 2, 1]),
        (vec![4_000_000, 10, 10, 10, 4_000_000, 10], vec![5, 1]),
    ] {
        let messages: Vec<_> = list_messages(lengths.iter().map(|length| info(*length))).collect();
        let sizes: Vec<_> = messages.iter().map(|message| message.info.len()).collect();
        assert_eq!(sizes, expected, "{} of {:?}", lengths.len(), lengths.first());
        assert!(messages.iter().all(|message| message.encoded_len() < 16 << 20));
    }
}
