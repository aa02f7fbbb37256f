//! containerd's messages and service, generated from `proto/` by the build script.

pub use self::containerd::services::snapshots::v1 as snapshots;
pub use self::containerd::types;

/// Nested as the packages are, since the generated code refers to one from the other.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
mod containerd {
    pub mod types {
        tonic::include_proto!("containerd.types");
    }
    pub mod services {
        pub mod snapshots {
            pub mod v1 {
                tonic::include_proto!("containerd.services.snapshots.v1");
            }
        }
    }
}
