//! What answers of S3 servers mean to people.

use object_store::Error as Answer;

/// Whether the answer is that there is no such object, rather than no such bucket.
pub(super) fn is_absent(answer: &Answer) -> bool {
    matches!(answer, Answer::NotFound { .. }) && !answer.to_string().contains(NO_BUCKET)
}

/// How servers say that there is no such bucket.
const NO_BUCKET: &str = "NoSuchBucket";

const KEY: &str = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, the region and what the key may do with the bucket";

pub(super) const UNREACHABLE: &str = "is the S3 server well, and reachable from here?";

/// What to do about an answer.
pub(super) fn advice(answer: &Answer) -> Option<&'static str> {
    // The kinds of failed lists are not told apart.
    let text = answer.to_string();
    let says = |status: &str| text.contains(&format!("status code: {status}"));
    Some(match answer {
        _ if text.contains(NO_BUCKET) => "make the bucket first, with the S3 server's own tools",
        Answer::PermissionDenied { .. } | Answer::Unauthenticated { .. } => KEY,
        Answer::Generic { .. } if says("401") || says("403") => KEY,
        Answer::NotImplemented { .. } | Answer::NotSupported { .. } => {
            "this S3 server cannot do what publishing needs"
        }
        Answer::Generic { .. } => UNREACHABLE,
        _ => return None,
    })
}
