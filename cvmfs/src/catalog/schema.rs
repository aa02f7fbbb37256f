//! Names and numbers of the catalog database: schema 2.5, revision 7, as the stock tools of release 2.12 write
//! it.

/// The file that marks a directory in which a nested catalog begins. It is nowhere else.
pub const MARKER: &[u8] = b".cvmfscatalog";

/// The schema that is read and written.
pub(super) const SCHEMA: f64 = 2.5;
/// The schema revision that is written: the one that brought `mtimens`. Older readers ignore that column.
pub(super) const REVISION: i64 = 7;
/// The first schema revision with the column `mtimens`.
pub(super) const REVISION_NANOSECONDS: i64 = 7;
/// The first schema revision with the column `xattr`.
pub(super) const REVISION_XATTR: i64 = 2;
/// The first schema revision with the column `size` in `nested_catalogs`.
pub(super) const REVISION_NESTED_SIZE: i64 = 1;
/// The first schema revision with the table `bind_mountpoints`.
pub(super) const REVISION_BIND: i64 = 4;
/// The oldest schema revision that can be changed in place: later ones differ in the column `mtimens` alone.
pub(super) const REVISION_CHANGEABLE: i64 = 5;

/// Bytes in a page; clients are tuned for this size.
pub(super) const PAGE: u32 = 1024;
/// The size that directories get; readers accept any.
pub(super) const DIRECTORY_SIZE: i64 = 4096;
/// Time to live of a revision, in seconds, if the catalog does not say.
pub(super) const DEFAULT_TTL: u64 = 240;

// The column `flags`.
pub(super) const DIRECTORY: i64 = 1;
pub(super) const MOUNTPOINT: i64 = 2;
pub(super) const FILE: i64 = 4;
pub(super) const SYMLINK: i64 = 8;
pub(super) const SPECIAL: i64 = 16;
pub(super) const ROOT: i64 = 32;
pub(super) const CHUNKED: i64 = 64;
pub(super) const EXTERNAL: i64 = 128;
pub(super) const ALGORITHM_SHIFT: u32 = 8;
pub(super) const COMPRESSION_SHIFT: u32 = 11;
pub(super) const THREE_BITS: i64 = 7;
pub(super) const BIND: i64 = 0x4000;
pub(super) const HIDDEN: i64 = 0x8000;
pub(super) const DIRECT_IO: i64 = 0x1_0000;

// The file type in the column `mode`, as in Linux' `st_mode`.
pub(super) const MODE_TYPE: u32 = 0o170_000;
pub(super) const MODE_FIFO: u32 = 0o010_000;
pub(super) const MODE_CHARACTER: u32 = 0o020_000;
pub(super) const MODE_DIRECTORY: u32 = 0o040_000;
pub(super) const MODE_BLOCK: u32 = 0o060_000;
pub(super) const MODE_REGULAR: u32 = 0o100_000;
pub(super) const MODE_SYMLINK: u32 = 0o120_000;
pub(super) const MODE_SOCKET: u32 = 0o140_000;
/// The rest of it: permissions, set-user-ID, set-group-ID, sticky bit.
pub(super) const MODE_BITS: u32 = 0o7777;

// Keys of the table `properties`.
pub(super) const KEY_SCHEMA: &str = "schema";
pub(super) const KEY_SCHEMA_REVISION: &str = "schema_revision";
pub(super) const KEY_REVISION: &str = "revision";
pub(super) const KEY_LAST_MODIFIED: &str = "last_modified";
pub(super) const KEY_PREVIOUS: &str = "previous_revision";
pub(super) const KEY_ROOT_PREFIX: &str = "root_prefix";
pub(super) const KEY_TTL: &str = "TTL";

/// The table of entries.
pub(super) const CATALOG: &str = "\
    CREATE TABLE catalog (md5path_1 INTEGER, md5path_2 INTEGER, parent_1 INTEGER, parent_2 INTEGER, \
    hardlinks INTEGER, hash BLOB, size INTEGER, mode INTEGER, mtime INTEGER, mtimens INTEGER, \
    flags INTEGER, name TEXT, symlink TEXT, uid INTEGER, gid INTEGER, xattr BLOB,  \
    CONSTRAINT pk_catalog PRIMARY KEY (md5path_1, md5path_2))";

/// How listings find entries.
pub(super) const CATALOG_INDEX: &str =
    "CREATE INDEX idx_catalog_parent ON catalog (parent_1, parent_2)";

/// All other tables.
pub(super) const TABLES: &str = "\
    CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key));\
    CREATE TABLE chunks (md5path_1 INTEGER, md5path_2 INTEGER, offset INTEGER, size INTEGER,  hash BLOB,  \
    CONSTRAINT pk_chunks PRIMARY KEY (md5path_1, md5path_2, offset, size),  \
    FOREIGN KEY (md5path_1, md5path_2) REFERENCES    catalog(md5path_1, md5path_2));\
    CREATE TABLE nested_catalogs (path TEXT, sha1 TEXT, size INTEGER, \
    CONSTRAINT pk_nested_catalogs PRIMARY KEY (path));\
    CREATE TABLE bind_mountpoints (path TEXT, sha1 TEXT, size INTEGER, \
    CONSTRAINT pk_bind_mountpoints PRIMARY KEY (path));\
    CREATE TABLE statistics (counter TEXT, value INTEGER, CONSTRAINT pk_statistics PRIMARY KEY (counter));";
