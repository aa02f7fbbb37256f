//! containerd's messages and service.
//!
//! The code in `proto/generated` is made from `proto/*.proto`. It is kept with the sources because its generator takes
//! longer to compile than this crate. A test (`tests/generated.rs`) makes it again and compares.

pub use self::containerd::services::snapshots::v1 as snapshots;
pub use self::containerd::types;

/// Nested as the packages are, since the generated code refers to one from the other.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
mod containerd {
    pub mod types {
        include!("../../proto/generated/containerd.types.rs");
    }
    pub mod services {
        pub mod snapshots {
            pub mod v1 {
                include!("../../proto/generated/containerd.services.snapshots.v1.rs");
            }
        }
    }
}
