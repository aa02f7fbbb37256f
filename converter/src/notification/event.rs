//! What can be told, under DUCC's names.

use std::collections::BTreeMap;
use std::time::Duration;

/// Joins the beginning of something with its end: a random UUID (RFC 9562, version 4), in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id(String);

impl Id {
    /// One that was never used before.
    pub fn random() -> Self {
        const VERSION: u128 = 0xf << 76;
        const VARIANT: u128 = 0b11 << 62;
        let bits = fastrand::u128(..) & !VERSION & !VARIANT | 4 << 76 | 0b10 << 62;
        let hex = format!("{bits:032x}");
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        Self(parts.join("-"))
    }
}

/// How something ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// What went wrong.
    pub error: Option<&'a str>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Something that happened. `request` is an image as it was asked for (`scheme://registry/repository:tag`), `image` its
/// simple name (`registry/repository:tag`); layers are digests in lower-case hex without `sha256:`.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// The program starts.
    Started,
    /// The program ends, after this time.
    Ended(Duration),
    /// An image is about to be converted.
    ImageStarted {
        /// The image as it was asked for.
        request: &'a str,
        /// Joins beginning and end.
        id: &'a Id,
    },
    /// An image has been converted, or not.
    ImageEnded {
        /// The image as it was asked for.
        request: &'a str,
        /// Joins beginning and end.
        id: &'a Id,
        /// How it ended.
        ended: Ended<'a>,
    },
    /// A flat root file system has got its public name. Both paths are relative to the repository.
    FlatPublished {
        /// The image as it was asked for.
        request: &'a str,
        /// What people type.
        public_path: &'a str,
        /// Where it leads.
        private_path: &'a str,
    },
    /// A layer is about to be fetched.
    LayerStarted {
        /// Public name of the image.
        image: &'a str,
        /// The layer.
        layer: &'a str,
        /// Joins beginning and end.
        id: &'a Id,
    },
    /// A layer has been unpacked, or not; `bytes` is the size of its uncompressed tar as far as it was read.
    LayerEnded {
        /// Public name of the image.
        image: &'a str,
        /// The layer.
        layer: &'a str,
        /// Joins beginning and end.
        id: &'a Id,
        /// Size of the uncompressed tar, in bytes.
        bytes: u64,
        /// How it ended.
        ended: Ended<'a>,
    },
    /// A layer is in the repository.
    LayerPublished {
        /// Public name of the image.
        image: &'a str,
        /// The layer.
        layer: &'a str,
    },
}

/// Members by name, which JSON objects of DUCC have in sorted order.
type Members = BTreeMap<&'static str, String>;

impl Event<'_> {
    /// The line without its end.
    pub(super) fn to_json(self, time: &str) -> Vec<u8> {
        let mut members = Members::from([("time", time.to_owned())]);
        let action = self.describe(&mut members);
        members.insert("action", action.to_owned());
        serde_json::to_vec(&members).expect("strings have a JSON form")
    }

    /// Adds what belongs to the event, and returns its action.
    fn describe(self, members: &mut Members) -> &'static str {
        let mut add = |pairs: &[(&'static str, &str)]| {
            members.extend(pairs.iter().map(|(name, value)| (*name, (*value).to_owned())));
        };
        let pid = || rustix::process::getpid().as_raw_nonzero().to_string();
        match self {
            Self::Started => {
                add(&[("pid", &pid())]);
                "start_ducc"
            }
            Self::Ended(elapsed) => {
                add(&[("pid", &pid()), (ELAPSED, &seconds(elapsed))]);
                "end_ducc"
            }
            Self::ImageStarted { request, id } => {
                add(&[("image_request", request), ("id", &id.0)]);
                "start_flat_conversion"
            }
            Self::ImageEnded { request, id, ended } => {
                add(&[("image_request", request), ("id", &id.0)]);
                ended.describe(members);
                "end_flat_conversion"
            }
            Self::FlatPublished { request, public_path, private_path } => {
                add(&[
                    ("image_request", request),
                    ("public_path", public_path),
                    ("private_path", private_path),
                ]);
                "publish_flat_image"
            }
            Self::LayerStarted { image, layer, id } => {
                add(&[("image", image), ("layer", layer), ("id", &id.0)]);
                "start_layer_conversion"
            }
            Self::LayerEnded { image, layer, id, bytes, ended } => {
                let bytes = bytes.to_string();
                add(&[("image", image), ("layer", layer), ("id", &id.0), ("size_bytes", &bytes)]);
                ended.describe(members);
                "end_layer_conversion"
            }
            Self::LayerPublished { image, layer } => {
                add(&[("image", image), ("layer_digest", layer)]);
                "publish_layer"
            }
        }
    }
}

const ELAPSED: &str = "time_elapsed_s";

impl Ended<'_> {
    fn describe(self, members: &mut Members) {
        members.insert(ELAPSED, seconds(self.elapsed));
        let status = if self.error.is_some() { "error" } else { "ok" };
        members.insert("status", status.to_owned());
        if let Some(error) = self.error {
            members.insert("error", error.to_owned());
        }
    }
}

/// Seconds with six decimals.
fn seconds(elapsed: Duration) -> String {
    format!("{:.6}", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = " 5 Mar 2024 - 14:03:22.123";

    fn line(event: Event<'_>) -> String {
        String::from_utf8(event.to_json(TIME)).unwrap()
    }

    #[test]
    fn lines_are_ducc_s() {
        let id = Id("0".to_owned());
        let ended = Ended { error: None, elapsed: Duration::from_millis(1500) };
        let (image, layer) = ("r.io/a:1", "ab");
        let request = "https://r.io/a:1";
        for (event, expected) in [
            (
                Event::ImageStarted { request, id: &id },
                r#"{"action":"start_flat_conversion","id":"0","image_request":"https://r.io/a:1","time":"T"}"#,
            ),
            (
                Event::LayerEnded { image, layer, id: &id, bytes: 7, ended },
                r#"{"action":"end_layer_conversion","id":"0","image":"r.io/a:1","layer":"ab","size_bytes":"7","status":"ok","time":"T","time_elapsed_s":"1.500000"}"#,
            ),
            (
                Event::LayerEnded {
                    image,
                    layer,
                    id: &id,
                    bytes: 0,
                    ended: Ended { error: Some("cut off"), ..ended },
                },
                r#"{"action":"end_layer_conversion","error":"cut off","id":"0","image":"r.io/a:1","layer":"ab","size_bytes":"0","status":"error","time":"T","time_elapsed_s":"1.500000"}"#,
            ),
            (
                Event::FlatPublished {
                    request,
                    public_path: "r.io/a:1",
                    private_path: ".flat/ab/ab",
                },
                r#"{"action":"publish_flat_image","image_request":"https://r.io/a:1","private_path":".flat/ab/ab","public_path":"r.io/a:1","time":"T"}"#,
            ),
            (
                Event::LayerPublished { image, layer },
                r#"{"action":"publish_layer","image":"r.io/a:1","layer_digest":"ab","time":"T"}"#,
            ),
        ] {
            assert_eq!(line(event), expected.replace("\"T\"", &format!("{TIME:?}")));
        }
        let pid = std::process::id();
        let started = format!(r#"{{"action":"start_ducc","pid":"{pid}","time":"{TIME}"}}"#);
        assert_eq!(line(Event::Started), started);
    }

    #[test]
    fn ids_are_random_uuids() {
        let (a, b) = (Id::random(), Id::random());
        assert_ne!(a, b);
        let parts: Vec<_> = a.0.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(parts[2].starts_with('4') && "89ab".contains(&parts[3][..1]), "{}", a.0);
    }
}
