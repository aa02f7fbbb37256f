//! Which generations of the container runtimes are wanted, and which of those that there are is taken.
//!
//! Debian's suites move on: a generation that testing has today is gone tomorrow. So a generation is wanted by its
//! number only where tests are about that one; otherwise the newest is taken, and what is unpacked already is kept.

/// A runtime that is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runtime {
    /// The first is the one that names the generation.
    pub(crate) packages: &'static [&'static str],
    /// What its directory is called, without the generation.
    pub(crate) name: &'static str,
    /// How many numbers of its version make a generation; with none, the directory's name has no number.
    pub(crate) numbers: usize,
    pub(crate) wanted: Wanted,
    /// Whether it is an error if it is neither unpacked nor in any suite.
    pub(crate) must: bool,
    /// The program that tells its version.
    pub(crate) program: &'static str,
}

/// Which generations will do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// This one only.
    Only(&'static [u32]),
    /// The newest, if it is not older than this.
    From(&'static [u32]),
}

impl Wanted {
    fn fits(self, version: &[u32]) -> bool {
        match self {
            Self::Only(numbers) => version.starts_with(numbers),
            Self::From(numbers) => version >= numbers,
        }
    }
}

impl Runtime {
    /// Those of a package's `versions` that will do, in their order.
    pub(crate) fn candidates<'a>(&self, versions: &'a [String]) -> Vec<&'a str> {
        let fits = |version: &&str| self.wanted.fits(&numbers(version));
        versions.iter().map(String::as_str).filter(fits).collect()
    }

    /// The directory of a version.
    pub(crate) fn directory(&self, version: &str) -> String {
        let generation: Vec<String> =
            numbers(version).iter().take(self.numbers).map(u32::to_string).collect();
        match generation.is_empty() {
            true => self.name.to_owned(),
            false => format!("{}-{}", self.name, generation.join(".")),
        }
    }

    /// Those of the unpacked `directories` that will do, the newest first.
    pub(crate) fn unpacked<'a>(&self, directories: &'a [String]) -> Vec<&'a str> {
        let mut found: Vec<(Vec<u32>, &str)> = directories
            .iter()
            .filter_map(|directory| {
                let rest = directory.strip_prefix(self.name)?;
                if self.numbers == 0 {
                    return rest.is_empty().then_some((Vec::new(), directory.as_str()));
                }
                let version = numbers(rest.strip_prefix('-')?);
                let whole = self.directory(&rest[1..]) == *directory;
                (whole && self.wanted.fits(&version)).then_some((version, directory.as_str()))
            })
            .collect();
        found.sort_by(|a, b| b.cmp(a));
        found.into_iter().map(|(_, directory)| directory).collect()
    }

    /// What is wanted, for messages.
    pub(crate) fn describe(&self) -> String {
        let dotted =
            |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        match self.wanted {
            Wanted::Only(numbers) => format!("{} {}", self.name, dotted(numbers)),
            Wanted::From(numbers) => format!("{} {} or newer", self.name, dotted(numbers)),
        }
    }
}

/// The numbers at the beginning of the upstream part of a Debian version (deb-version(7)).
fn numbers(version: &str) -> Vec<u32> {
    let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
    let end = upstream.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(upstream.len());
    upstream[..end].split('.').map_while(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINERD: Runtime = Runtime {
        packages: &["containerd"],
        name: "containerd",
        numbers: 2,
        wanted: Wanted::From(&[2]),
        must: true,
        program: "usr/bin/containerd",
    };
    const OLD: Runtime = Runtime { wanted: Wanted::Only(&[1, 6]), ..CONTAINERD };
    const APPTAINER: Runtime =
        Runtime { name: "apptainer", numbers: 0, wanted: Wanted::From(&[1]), ..CONTAINERD };

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_newest_of_the_suites() {
        let today = owned(&["2.1.9~ds1-1", "1.7.24~ds1-6", "1:1.6.20~ds1-1"]);
        let later = owned(&["3.0.1-1", "2.2.0~rc1-1", "2.1.9~ds1-1", "1.7.24~ds1-6"]);
        assert_eq!(CONTAINERD.candidates(&today), ["2.1.9~ds1-1"]);
        assert_eq!(OLD.candidates(&today), ["1:1.6.20~ds1-1"]);
        assert_eq!(CONTAINERD.candidates(&later), ["3.0.1-1", "2.2.0~rc1-1", "2.1.9~ds1-1"]);
        assert!(OLD.candidates(&later).is_empty());
        assert!(CONTAINERD.candidates(&owned(&["1.7.24~ds1-6"])).is_empty());
        assert!(
            Runtime { wanted: Wanted::Only(&[1, 6]), ..CONTAINERD }
                .candidates(&owned(&["1.60-1"]))
                .is_empty()
        );
    }

    #[test]
    fn directories_of_versions() {
        assert_eq!(CONTAINERD.directory("1:1.6.20~ds1-1"), "containerd-1.6");
        assert_eq!(
            Runtime { numbers: 1, name: "docker", ..CONTAINERD }.directory("28.5.2+dfsg1-3"),
            "docker-28"
        );
        assert_eq!(APPTAINER.directory("1.4.5-1"), "apptainer");
    }

    #[test]
    fn what_is_unpacked_is_kept() {
        let names = [
            "apt",
            "containerd-1.6",
            "containerd-2.1",
            "containerd-2.10",
            "containerd-2.9",
            "containerd-2.1.part",
            "apptainer",
        ];
        let directories = owned(&names);
        assert_eq!(
            CONTAINERD.unpacked(&directories),
            ["containerd-2.10", "containerd-2.9", "containerd-2.1"]
        );
        assert_eq!(OLD.unpacked(&directories), ["containerd-1.6"]);
        assert_eq!(APPTAINER.unpacked(&directories), ["apptainer"]);
        assert!(APPTAINER.unpacked(&owned(&["apptainer.part"])).is_empty());
    }
}
