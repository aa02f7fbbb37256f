//! One set of wishes from several lists for the same repository.

use std::collections::HashMap;
use std::sync::Arc;

use layer_layout::{PublicName, RegistryReference};

use super::image::Wish;

/// What several lists wish for together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Merged {
    /// Each image once, those with a higher priority first, otherwise in the order of the lists.
    pub wishes: Vec<Wish>,
    /// What the lists do not agree about.
    pub conflicts: Vec<Conflict>,
}

/// Two wishes that cannot both come true. The first one does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}: {problem}; {}:{} comes first", .loser.0, .loser.1, .winner.0, .winner.1)]
pub struct Conflict {
    /// List and line of the wish that comes true.
    pub winner: (Arc<str>, usize),
    /// List and line of the one that does not.
    pub loser: (Arc<str>, usize),
    /// What they do not agree about.
    pub problem: ConflictProblem,
}

/// What two wishes do not agree about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConflictProblem {
    /// One public name, two images.
    #[error("{name} is to be {loser}, but elsewhere it is {winner}")]
    Image {
        /// The public name.
        name: String,
        /// What it becomes.
        winner: String,
        /// What it does not become.
        loser: String,
    },
    /// One image, two thin images.
    #[error("the thin image of {image} is to be {loser}, but elsewhere it is {winner}")]
    Thin {
        /// The image.
        image: String,
        /// Where the thin image is pushed.
        winner: String,
        /// Where it is not.
        loser: String,
    },
    /// One thin image, two images.
    #[error("the thin image of {loser} is to be {thin}, but that is the thin image of {winner}")]
    SameThin {
        /// The thin image.
        thin: String,
        /// Whose it is.
        winner: String,
        /// Whose it is not; it has none.
        loser: String,
    },
}

/// Merges wishes for one repository by their public names. Of several wishes for one image the one with the highest
/// priority decides, or else the first; but the image is made for the platforms of all of them, and gets a flat root or
/// a thin image if any of them wants one, and its failures are ignored only if all of them say so.
pub fn merge(wishes: impl IntoIterator<Item = Wish>) -> Merged {
    let mut wishes: Vec<Wish> = wishes.into_iter().collect();
    // Stable: among equals, the first stays the first.
    wishes.sort_by_key(|wish| std::cmp::Reverse(wish.priority));
    let mut merged = Merged::default();
    let mut places: HashMap<PublicName, usize> = HashMap::new();
    for wish in wishes {
        // A wish is for one image, and that has a name.
        let Some(name) = wish.reference.public_name() else { continue };
        match places.get(&name) {
            None => {
                places.insert(name, merged.wishes.len());
                merged.wishes.push(wish);
            }
            Some(&place) => {
                let conflict = join(&mut merged.wishes[place], wish, &name);
                merged.conflicts.extend(conflict);
            }
        }
    }
    let mut thin: HashMap<RegistryReference, usize> = HashMap::new();
    for place in 0..merged.wishes.len() {
        let Some(target) = merged.wishes[place].thin.clone() else { continue };
        match thin.get(&target) {
            None => {
                thin.insert(target, place);
            }
            Some(&first) => {
                merged.wishes[place].thin = None;
                let (winner, loser) = (&merged.wishes[first], &merged.wishes[place]);
                let problem = ConflictProblem::SameThin {
                    thin: target.to_string(),
                    winner: winner.reference.to_string(),
                    loser: loser.reference.to_string(),
                };
                merged.conflicts.push(conflict(winner, loser, problem));
            }
        }
    }
    merged
}

fn conflict(winner: &Wish, loser: &Wish, problem: ConflictProblem) -> Conflict {
    let place = |wish: &Wish| (Arc::clone(&wish.list), wish.line);
    Conflict { winner: place(winner), loser: place(loser), problem }
}

/// Adds to a wish what another one for the same name wants.
fn join(wish: &mut Wish, other: Wish, name: &PublicName) -> Option<Conflict> {
    if wish.reference != other.reference {
        let (winner, loser) = (wish.reference.to_string(), other.reference.to_string());
        let problem = ConflictProblem::Image { name: name.to_string(), winner, loser };
        return Some(conflict(wish, &other, problem));
    }
    wish.platforms = wish.platforms.union(&other.platforms);
    wish.flat |= other.flat;
    wish.errors_are_ignored &= other.errors_are_ignored;
    match (&wish.thin, &other.thin) {
        (Some(own), Some(theirs)) if own != theirs => {
            let problem = ConflictProblem::Thin {
                image: wish.reference.to_string(),
                winner: own.to_string(),
                loser: theirs.to_string(),
            };
            Some(conflict(wish, &other, problem))
        }
        (None, Some(_)) => {
            // The account belongs to where the thin image is pushed.
            (wish.thin, wish.user) = (other.thin, other.user);
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wish::image::Platforms;

    fn wish(list: &str, line: usize, image: &str) -> Wish {
        Wish {
            reference: image.parse().unwrap(),
            platforms: Platforms::HostOnly,
            flat: true,
            thin: None,
            user: None,
            credentials: None,
            priority: 0,
            errors_are_ignored: false,
            list: list.into(),
            line,
        }
    }

    fn thin(target: &str, wish: Wish) -> Wish {
        Wish { thin: Some(target.parse().unwrap()), ..wish }
    }

    fn texts(merged: &Merged) -> (Vec<String>, Vec<String>) {
        let show = |wish: &Wish| match &wish.thin {
            Some(thin) => format!("{} -> {thin}", wish.reference),
            None => wish.reference.to_string(),
        };
        let wishes = merged.wishes.iter().map(show).collect();
        (wishes, merged.conflicts.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_image_once_and_the_urgent_first() {
        let urgent = Wish { priority: 5, ..wish("b", 3, "r.io/a:2") };
        let merged = merge([
            wish("a", 1, "r.io/a:1"),
            wish("a", 2, "r.io/a:2"),
            wish("b", 1, "r.io/a:1"),
            urgent,
        ]);
        let (wishes, conflicts) = texts(&merged);
        assert_eq!(wishes, ["https://r.io/a:2", "https://r.io/a:1"]);
        assert_eq!((conflicts.len(), merged.wishes[0].list.as_ref()), (0, "b"));
    }

    #[test]
    fn who_wants_more_gets_it() {
        let few = Wish { flat: false, errors_are_ignored: true, ..wish("a", 1, "r.io/a:1") };
        let many = Wish {
            platforms: Platforms::All,
            user: Some("robot".to_owned()),
            ..thin("t.io/a:1", wish("b", 1, "r.io/a:1"))
        };
        let merged = merge([few, many]).wishes.remove(0);
        assert_eq!(merged.platforms, Platforms::All);
        assert!(merged.flat && !merged.errors_are_ignored);
        assert_eq!(merged.thin.unwrap().to_string(), "https://t.io/a:1");
        assert_eq!(merged.user.as_deref(), Some("robot"));
    }

    #[test]
    fn conflicts_name_both_places() {
        let digest = |n: u8| layer_layout::Digest::of(&[n]);
        let (one, two) = (format!("r.io/a:1@{}", digest(1)), format!("r.io/a:1@{}", digest(2)));
        for (wishes, left, conflict) in [
            (
                vec![wish("x", 4, "http://r.io/a:1"), wish("y", 7, "r.io/a:1")],
                vec!["http://r.io/a:1".to_owned()],
                "y:7: r.io/a:1 is to be https://r.io/a:1, but elsewhere it is http://r.io/a:1; x:4 comes first"
                    .to_owned(),
            ),
            (
                vec![wish("x", 4, &one), wish("y", 7, &two)],
                vec![format!("https://{one}")],
                format!(
                    "y:7: r.io/a:1 is to be https://{two}, but elsewhere it is https://{one}; x:4 comes first"
                ),
            ),
            (
                vec![
                    thin("t.io/a:1", wish("x", 4, "r.io/a:1")),
                    thin("t.io/b:1", wish("x", 5, "r.io/a:1")),
                ],
                vec!["https://r.io/a:1 -> https://t.io/a:1".to_owned()],
                "x:5: the thin image of https://r.io/a:1 is to be https://t.io/b:1, but elsewhere it is \
                 https://t.io/a:1; x:4 comes first"
                    .to_owned(),
            ),
            (
                vec![
                    thin("t.io/a:1", wish("x", 4, "r.io/a:1")),
                    thin("t.io/a:1", wish("x", 5, "r.io/b:1")),
                ],
                vec!["https://r.io/a:1 -> https://t.io/a:1".to_owned(), "https://r.io/b:1".to_owned()],
                "x:5: the thin image of https://r.io/b:1 is to be https://t.io/a:1, but that is the thin image of \
                 https://r.io/a:1; x:4 comes first"
                    .to_owned(),
            ),
        ] {
            assert_eq!(texts(&merge(wishes)), (left, vec![conflict]));
        }
    }
}
