//! `.singularity.d/labels.json`, which `apptainer inspect` shows.

use std::collections::BTreeMap;

/// The image's labels as a JSON object.
pub(super) fn json(labels: &BTreeMap<String, String>) -> String {
    let object: serde_json::Map<_, _> =
        labels.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    format!("{:#}\n", serde_json::Value::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let labels = BTreeMap::from([("a\"b".to_owned(), "\\\n".to_owned())]);
        assert_eq!(json(&labels), "{\n  \"a\\\"b\": \"\\\\\\n\"\n}\n");
        assert_eq!(json(&BTreeMap::new()), "{}\n");
    }
}
