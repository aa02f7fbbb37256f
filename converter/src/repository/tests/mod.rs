//! What holds for every kind of repository, rule by rule.

pub(super) mod completing;
pub(super) mod describe;
pub(super) mod editing;
pub(super) mod image;
pub(super) mod layers;
pub(super) mod merging;
pub(super) mod publishing;
pub(super) mod removing;
pub(super) mod snapshot;
pub(super) mod user;

use layer_layout::{Digest, RepositoryPath, path};

use super::{LayerWriter, OpenEnds, Repository, Result, Transaction};
use crate::layer::{Content, ContentProgress, Entry, Kind, Segment};

/// A repository that a test has for itself.
pub(super) trait Target: Sized {
    /// Whether a file that several trees share takes space once.
    const SHARES_FILES: bool;

    /// An empty one.
    fn new() -> Self;

    fn repository(&self) -> &dyn Repository;

    fn begin(&self) -> Box<dyn Transaction>;

    /// Checks that it keeps its own rules and that no publisher has left anything.
    fn assert_sound(&self);

    /// What is published in its root directory.
    fn names(&self) -> Vec<String>;

    /// What is published at a path.
    fn tree(&self, path: &RepositoryPath) -> snapshot::Tree;
}

/// Makes tests of the rules for one kind of repository; the path is seen from a module in the calling one.
macro_rules! rules {
    ($target:ty) => {
        mod layers {
            use $crate::repository::tests::layers;

            #[test]
            fn everything_an_entry_has_is_kept() {
                layers::everything_an_entry_has_is_kept::<$target>();
            }

            #[test]
            fn of_several_entries_the_last_counts() {
                layers::of_several_entries_the_last_counts::<$target>();
            }

            #[test]
            fn paths_through_symlinks_stay_in_the_layer() {
                layers::paths_through_symlinks_stay_in_the_layer::<$target>();
            }

            #[test]
            fn marks_concern_the_layers_below_only() {
                layers::marks_concern_the_layers_below_only::<$target>();
            }

            #[test]
            fn open_ends_are_told() {
                layers::open_ends_are_told::<$target>();
            }

            #[test]
            fn what_contradicts_itself_is_refused() {
                layers::what_contradicts_itself_is_refused::<$target>();
            }
        }

        mod completing {
            use $crate::repository::tests::completing;

            #[test]
            fn implied_directories_follow_the_layers_below() {
                completing::implied_directories_follow_the_layers_below::<$target>();
            }

            #[test]
            fn symlinks_that_are_replaced_are_told() {
                completing::symlinks_that_are_replaced_are_told::<$target>();
            }

            #[test]
            fn links_to_lower_files_bring_both_names() {
                completing::links_to_lower_files_bring_both_names::<$target>();
            }

            #[test]
            fn times_of_directories_that_get_a_name_are_kept() {
                completing::times_of_directories_that_get_a_name_are_kept::<$target>();
            }

            #[test]
            fn what_does_not_fit_on_the_layers_below_is_refused() {
                completing::what_does_not_fit_on_the_layers_below_is_refused::<$target>();
            }

            #[test]
            fn a_completion_tells_whether_another_stack_gives_the_same() {
                completing::a_completion_tells_whether_another_stack_gives_the_same::<$target>();
            }
        }

        mod editing {
            use $crate::repository::tests::editing;

            #[test]
            fn shared_files_are_left_alone() {
                editing::shared_files_are_left_alone::<$target>();
            }

            #[test]
            fn links_are_followed_as_in_a_container() {
                editing::links_are_followed_as_in_a_container::<$target>();
            }

            #[test]
            fn a_root_is_opened_to_everybody() {
                editing::a_root_is_opened_to_everybody::<$target>();
            }
        }

        mod publishing_in_parts {
            use $crate::repository::tests::publishing;

            #[test]
            fn what_is_named_appears_and_the_rest_waits() {
                publishing::what_is_named_appears_and_the_rest_waits::<$target>();
            }

            #[test]
            fn naming_what_is_there_already_changes_nothing() {
                publishing::naming_what_is_there_already_changes_nothing::<$target>();
            }

            #[test]
            fn a_path_of_which_nothing_is_known_is_refused() {
                publishing::a_path_of_which_nothing_is_known_is_refused::<$target>();
            }

            #[test]
            fn what_is_withdrawn_does_not_appear() {
                publishing::what_is_withdrawn_does_not_appear::<$target>();
            }

            #[test]
            fn a_transaction_sees_what_it_has_prepared() {
                publishing::a_transaction_sees_what_it_has_prepared::<$target>();
            }

            #[test]
            fn threads_prepare_while_others_publish() {
                publishing::threads_prepare_while_others_publish::<$target>();
            }

            #[test]
            fn small_things_are_forgotten_by_a_rebase_and_trees_kept() {
                publishing::small_things_are_forgotten_by_a_rebase_and_trees_kept::<$target>();
            }

            #[test]
            fn what_is_relied_on_has_to_be_there() {
                publishing::what_is_relied_on_has_to_be_there::<$target>();
            }
        }

        mod removing {
            use $crate::repository::tests::removing;

            #[test]
            fn what_is_removed_goes_with_the_publish_that_names_it() {
                removing::what_is_removed_goes_with_the_publish_that_names_it::<$target>();
            }

            #[test]
            fn directories_that_are_empty_then_go_too() {
                removing::directories_that_are_empty_then_go_too::<$target>();
            }

            #[test]
            fn a_replaced_tree_has_one_name_and_other_content() {
                removing::a_replaced_tree_has_one_name_and_other_content::<$target>();
            }

            #[test]
            fn what_is_removed_and_prepared_again_is_new() {
                removing::what_is_removed_and_prepared_again_is_new::<$target>();
            }

            #[test]
            fn a_tag_moves_at_once() {
                removing::a_tag_moves_at_once::<$target>();
            }

            #[test]
            fn the_bytes_that_removing_would_free_are_known() {
                removing::the_bytes_that_removing_would_free_are_known::<$target>();
            }
        }
    };
}

pub(super) use rules;

/// CAP_NET_RAW, permitted and effective (`linux/capability.h`, VFS_CAP_REVISION_2).
pub(super) const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An entry with its content.
pub(super) type Described = (Entry, Vec<u8>);

/// A place for a layer of this name.
pub(super) fn layerfs(name: &str) -> RepositoryPath {
    path::layerfs(&Digest::of(name.as_bytes()).into())
}

/// A place for a merged tree of this name.
pub(super) fn rootfs(name: &str) -> RepositoryPath {
    path::chain_rootfs(&Digest::of(name.as_bytes()).into())
}

/// Unpacks a layer of these entries.
pub(super) fn unpack(
    transaction: &dyn Transaction,
    path: &RepositoryPath,
    entries: &[Described],
) -> Result<OpenEnds> {
    let mut writer = transaction.layer_writer(path)?;
    for (entry, content) in entries {
        apply(&mut *writer, entry, content)?;
    }
    writer.finish()
}

/// Applies an entry whose content, if it is a file, has no holes.
pub(super) fn apply(writer: &mut dyn LayerWriter, entry: &Entry, content: &[u8]) -> Result<()> {
    let (size, segments) = match entry.kind {
        Kind::File { size } if size > 0 => (size, vec![Segment { offset: 0, length: size }]),
        _ => (0, Vec::new()),
    };
    apply_sparse(writer, entry, ContentProgress::new(size, segments), content)
}

/// Applies an entry with the bytes of its segments.
pub(super) fn apply_sparse(
    writer: &mut dyn LayerWriter,
    entry: &Entry,
    mut progress: ContentProgress,
    mut data: &[u8],
) -> Result<()> {
    writer.apply(entry, &mut Content::new(&mut progress, &mut data))
}

/// Publishes layers, topmost last, without completing them. Gives their places, topmost first.
pub(super) fn publish(target: &impl Target, layers: &[&[Described]]) -> Vec<RepositoryPath> {
    let transaction = target.begin();
    let mut paths = Vec::new();
    for (at, entries) in layers.iter().enumerate() {
        let path = layerfs(&format!("layer {at}"));
        unpack(&*transaction, &path, entries).unwrap();
        paths.insert(0, path);
    }
    transaction.commit().unwrap();
    paths
}
