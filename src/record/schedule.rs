//! `remove-schedule.json`: what waits to be removed, and since when.

use serde::Serialize;
use serde_json::{Map, Value};

use super::json::{compact, parse};
use super::manifest::{PublishedManifest, member};
use crate::path::{ImagePlace, Unit};
use crate::{Architecture, DiffId, Error, PublicName, RepositoryPath, Result};

const WHAT: &str = "remove schedule";

/// The content of `.metadata/remove-schedule.json`.
///
/// Compact JSON: an array of manifests in DUCC's form, with capitalized keys, because DUCC reads the file as such and
/// adds to it. The entries of `ducc` have further members behind those, which Go skips:
///
/// | member | |
/// |---|---|
/// | `UnwantedSince` | RFC 3339; an entry without it is DUCC's |
/// | `Reason` | `unwished`: the image is still published; `moved`: another one has its name |
/// | `Name` | the public name |
/// | `Architecture` | the directory below `.multiarch`, for an image that has its place there |
/// | `DiffIDs` | of the layers, base first, as far as they are known |
/// | `Paths` | instead of all these: layers, chains and flat roots that no image refers to |
///
/// If DUCC adds to the file, it drops these members from all entries. Then nothing is forgotten but the time: what no
/// image refers to is found again, and images that nobody wishes for are noticed again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemoveSchedule {
    /// Oldest first.
    pub entries: Vec<ScheduleEntry>,
}

/// What waits to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleEntry {
    /// An image.
    Image(Box<ScheduledImage>),
    /// Content that no image refers to.
    Content(ScheduledContent),
    /// What DUCC has written, which is kept and not to be taken at its word: where an image is replaced, DUCC adds the
    /// *new* manifest, and it never reads what it has added.
    OfDucc(PublishedManifest),
}

/// An image that is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledImage {
    /// Its manifest.
    pub manifest: PublishedManifest,
    /// Where it is published, or was.
    pub place: ImagePlace,
    /// Why it is to be removed.
    pub reason: Reason,
    /// Since when, RFC 3339.
    pub unwanted_since: String,
    /// Its uncompressed layers, base first: all of them, or the lower ones, or none if that is not known.
    pub diff_ids: Vec<DiffId>,
}

/// Why an image is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Nobody wishes for it any more. Its names are removed with it.
    Unwished,
    /// Its tag has moved to another image, which has its names now.
    Moved,
}

/// Layers, chains and flat roots that no image refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledContent {
    /// Since when that is known, RFC 3339.
    pub unwanted_since: String,
    /// Where they are.
    pub units: Vec<Unit>,
}

impl RemoveSchedule {
    /// Reads a `remove-schedule.json`.
    ///
    /// # Errors
    /// If it is not an array of manifests, or an entry contradicts itself.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let mut entries: Vec<Map<String, Value>> = parse(WHAT, json)?;
        entries.retain(|members| !is_hollow(members));
        Ok(Self { entries: entries.into_iter().map(entry).collect::<Result<_>>()? })
    }

    /// The bytes of the file.
    pub fn to_json(&self) -> Vec<u8> {
        compact(&self.entries.iter().map(written).collect::<Vec<_>>())
    }
}

/// Whether this is an entry for content that DUCC has written again, without what it does not know: nothing is left.
fn is_hollow(members: &Map<String, Value>) -> bool {
    let config = member(members, "Config").and_then(Value::as_object);
    let digest = config.and_then(|config| member(config, "Digest"));
    !members.contains_key("UnwantedSince") && digest == Some(&Value::String(String::new()))
}

fn entry(members: Map<String, Value>) -> Result<ScheduleEntry> {
    let Some(since) = members.get("UnwantedSince") else {
        return PublishedManifest::from_members(members).map(ScheduleEntry::OfDucc);
    };
    let unwanted_since = text("UnwantedSince", since)?.to_owned();
    if let Some(paths) = members.get("Paths") {
        let units = list("Paths", paths)?
            .iter()
            .map(|path| {
                let unit = Unit::of_link_target(text("Paths", path)?);
                unit.ok_or_else(|| wrong(format!("{path} is no layer, chain or flat root")))
            })
            .collect::<Result<_>>()?;
        return Ok(ScheduleEntry::Content(ScheduledContent { unwanted_since, units }));
    }
    let needed = |name: &'static str| {
        let value = member(&members, name);
        value.ok_or_else(|| wrong(format!("an entry with a time has no {name}")))
    };
    let name: PublicName = text("Name", needed("Name")?)?.parse()?;
    let architecture: Option<Architecture> = match members.get("Architecture") {
        Some(architecture) => Some(text("Architecture", architecture)?.parse()?),
        None => None,
    };
    let reason = match text("Reason", needed("Reason")?)? {
        "unwished" => Reason::Unwished,
        "moved" => Reason::Moved,
        other => return Err(wrong(format!("{other:?} is no reason to remove an image"))),
    };
    let diff_ids = match members.get("DiffIDs") {
        Some(ids) => list("DiffIDs", ids)?
            .iter()
            .map(|id| text("DiffIDs", id)?.parse())
            .collect::<Result<_>>()?,
        None => Vec::new(),
    };
    Ok(ScheduleEntry::Image(Box::new(ScheduledImage {
        manifest: PublishedManifest::from_members(members)?,
        place: ImagePlace { name, architecture },
        reason,
        unwanted_since,
        diff_ids,
    })))
}

fn wrong(reason: String) -> Error {
    Error::document(WHAT, reason)
}

fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str> {
    value.as_str().ok_or_else(|| wrong(format!("{name} holds {value}, which is not text")))
}

fn list<'a>(name: &str, value: &'a Value) -> Result<&'a [Value]> {
    let list = value.as_array().map(Vec::as_slice);
    list.ok_or_else(|| wrong(format!("{name} is {value}, which is not a list")))
}

/// An entry in the order in which its members are written.
#[derive(Serialize)]
#[serde(untagged)]
enum Written<'a> {
    Image {
        #[serde(flatten)]
        manifest: &'a PublishedManifest,
        #[serde(flatten)]
        image: WrittenImage<'a>,
    },
    Content {
        #[serde(flatten)]
        manifest: NoManifest,
        #[serde(rename = "UnwantedSince")]
        unwanted_since: &'a str,
        #[serde(rename = "Paths")]
        paths: Vec<RepositoryPath>,
    },
    OfDucc(&'a PublishedManifest),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WrittenImage<'a> {
    unwanted_since: &'a str,
    reason: Reason,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    architecture: Option<String>,
    #[serde(rename = "DiffIDs", skip_serializing_if = "<[_]>::is_empty")]
    diff_ids: &'a [DiffId],
}

/// What stands where DUCC expects a manifest and there is none.
#[derive(Serialize, Default)]
#[serde(rename_all = "PascalCase")]
struct NoManifest {
    schema_version: u32,
    media_type: &'static str,
    config: NoBlob,
    layers: [NoBlob; 0],
}

#[derive(Serialize, Default)]
#[serde(rename_all = "PascalCase")]
struct NoBlob {
    media_type: &'static str,
    size: u64,
    digest: &'static str,
}

fn written(entry: &ScheduleEntry) -> Written<'_> {
    match entry {
        ScheduleEntry::Image(image) => Written::Image {
            manifest: &image.manifest,
            image: WrittenImage {
                unwanted_since: &image.unwanted_since,
                reason: image.reason,
                name: image.place.name.to_string(),
                architecture: image.place.architecture.as_ref().map(ToString::to_string),
                diff_ids: &image.diff_ids,
            },
        },
        ScheduleEntry::Content(content) => Written::Content {
            manifest: NoManifest::default(),
            unwanted_since: &content.unwanted_since,
            paths: content.units.iter().map(Unit::path).collect(),
        },
        ScheduleEntry::OfDucc(manifest) => Written::OfDucc(manifest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    /// What `json.Marshal` of Go gives for DUCC's `[]Manifest`.
    const DUCC: &str = "[{\"SchemaVersion\":2,\
        \"MediaType\":\"application/vnd.docker.distribution.manifest.v2+json\",\
        \"Config\":{\"MediaType\":\"application/vnd.docker.container.image.v1+json\",\"Size\":1469,\
        \"Digest\":\"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\"},\
        \"Layers\":[{\"MediaType\":\"application/vnd.docker.image.rootfs.diff.tar.gzip\",\
        \"Size\":2220094,\
        \"Digest\":\"sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d\"}]},\
        {\"SchemaVersion\":2,\"MediaType\":\"\",\
        \"Config\":{\"MediaType\":\"application/vnd.oci.image.config.v1+json\",\"Size\":2,\
        \"Digest\":\"sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6\"},\
        \"Layers\":[]}]";

    /// The entries of this project, behind one of DUCC's.
    const OURS: &str = "[{\"SchemaVersion\":2,\"MediaType\":\"\",\
        \"Config\":{\"MediaType\":\"application/vnd.oci.image.config.v1+json\",\"Size\":2,\
        \"Digest\":\"sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6\"},\
        \"Layers\":[]},\
        {\"SchemaVersion\":2,\"MediaType\":\"application/vnd.oci.image.manifest.v1+json\",\
        \"Config\":{\"MediaType\":\"application/vnd.oci.image.config.v1+json\",\"Size\":1,\
        \"Digest\":\"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\"},\
        \"Layers\":[{\"MediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"Size\":2,\
        \"Digest\":\"sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d\"}],\
        \"UnwantedSince\":\"2026-12-01T04:05:06Z\",\"Reason\":\"unwished\",\"Name\":\"r.io/a:1\",\
        \"DiffIDs\":[\"sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6\"]},\
        {\"SchemaVersion\":2,\"MediaType\":\"\",\
        \"Config\":{\"MediaType\":\"\",\"Size\":0,\
        \"Digest\":\"sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6\"},\
        \"Layers\":[],\
        \"UnwantedSince\":\"2026-12-02T04:05:06Z\",\"Reason\":\"moved\",\"Name\":\"r.io/a:2\",\
        \"Architecture\":\"arm64:v8\"},\
        {\"SchemaVersion\":0,\"MediaType\":\"\",\
        \"Config\":{\"MediaType\":\"\",\"Size\":0,\"Digest\":\"\"},\"Layers\":[],\
        \"UnwantedSince\":\"2026-12-03T04:05:06Z\",\"Paths\":[\
        \".flat/ca/ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\",\
        \".layers/3e/3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d\"]}]";

    #[test]
    fn bytes_are_ducc_s() {
        let schedule = RemoveSchedule::parse(DUCC.as_bytes()).unwrap();
        let [ScheduleEntry::OfDucc(docker), ScheduleEntry::OfDucc(oci)] = &schedule.entries[..]
        else {
            panic!("{schedule:?}")
        };
        assert_eq!((docker.schema_version, docker.config.size), (2, 1469));
        assert_eq!(docker.config.digest, Digest::of(b"a").into());
        assert_eq!(docker.layers[0].digest, Digest::of(b"b").into());
        assert_eq!((oci.media_type.as_str(), oci.layers.len()), ("", 0));
        assert_eq!(String::from_utf8(schedule.to_json()).unwrap(), DUCC);
        assert_eq!(RemoveSchedule::default().to_json(), b"[]");
    }

    #[test]
    fn own_entries_say_what_and_since_when() {
        let schedule = RemoveSchedule::parse(OURS.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(schedule.to_json()).unwrap(), OURS);
        let [
            ScheduleEntry::OfDucc(_),
            ScheduleEntry::Image(unwished),
            ScheduleEntry::Image(moved),
            ScheduleEntry::Content(content),
        ] = &schedule.entries[..]
        else {
            panic!("{schedule:?}")
        };
        assert_eq!(unwished.place.to_string(), "r.io/a:1");
        assert_eq!(unwished.reason, Reason::Unwished);
        assert_eq!(unwished.unwanted_since, "2026-12-01T04:05:06Z");
        assert_eq!(unwished.diff_ids, [Digest::of(b"c").into()]);
        assert_eq!(moved.place.to_string(), "r.io/a:2 (arm64:v8)");
        assert_eq!((moved.reason, moved.diff_ids.len()), (Reason::Moved, 0));
        let units = [Unit::Flat(Digest::of(b"a").into()), Unit::Layer(Digest::of(b"b").into())];
        assert_eq!(content.units, units);
    }

    #[test]
    fn what_ducc_leaves_of_own_entries_is_like_its_own() {
        let ducc_s = |json: &str| {
            let mut entries: Vec<Map<String, Value>> = serde_json::from_str(json).unwrap();
            for entry in &mut entries {
                entry.retain(|name, _| {
                    ["SchemaVersion", "MediaType", "Config", "Layers"].contains(&name.as_str())
                });
            }
            RemoveSchedule::parse(&serde_json::to_vec(&entries).unwrap()).unwrap()
        };
        let entries = ducc_s(OURS).entries;
        assert_eq!(entries.len(), 3, "nothing is left of an entry without a manifest");
        assert!(entries.iter().all(|entry| matches!(entry, ScheduleEntry::OfDucc(_))));
    }

    #[test]
    fn layers_may_be_null() {
        let json = DUCC.replace("\"Layers\":[]", "\"Layers\":null");
        assert_eq!(RemoveSchedule::parse(json.as_bytes()), RemoveSchedule::parse(DUCC.as_bytes()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (good, from, to) in [
            (DUCC, "sha256:ca97", "sha256:../x"),
            (OURS, ".flat/ca/", ".flat/cb/"),
            (OURS, "\"Reason\":\"moved\",", ""),
            (OURS, "\"moved\"", "\"later\""),
            (OURS, "\"Name\":\"r.io/a:1\",", ""),
            (OURS, "r.io/a:1", "../a:1"),
            (OURS, "arm64:v8", "../x"),
            (OURS, "\"2026-12-03T04:05:06Z\"", "7"),
            (OURS, "\"DiffIDs\":[\"sha256:", "\"DiffIDs\":[\"md5:"),
        ] {
            let json = good.replace(from, to);
            assert_ne!(json, good);
            assert!(RemoveSchedule::parse(json.as_bytes()).is_err(), "{json}");
        }
        for json in ["", "{}", "[1]", "null"] {
            assert!(RemoveSchedule::parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}
