//! The scripts of `.singularity.d`.

use super::quote::{is_name, literal};

/// Scripts that are the same for every image: name below `.singularity.d`, and content.
pub(super) const FIXED: [(&str, &str); 12] = [
    ("actions/exec", include_str!("files/actions-exec")),
    ("actions/run", include_str!("files/actions-run")),
    ("actions/shell", include_str!("files/actions-shell")),
    ("actions/start", include_str!("files/actions-start")),
    ("actions/test", include_str!("files/actions-test")),
    ("env/01-base.sh", include_str!("files/env-01-base.sh")),
    ("env/90-environment.sh", include_str!("files/env-90-environment.sh")),
    ("env/91-environment.sh", include_str!("files/env-90-environment.sh")),
    ("env/95-apps.sh", include_str!("files/env-95-apps.sh")),
    ("env/99-base.sh", include_str!("files/env-99-base.sh")),
    ("env/99-runtimevars.sh", include_str!("files/env-99-runtimevars.sh")),
    ("startscript", include_str!("files/startscript")),
];

/// `env/10-docker2singularity.sh`, and remarks on what it cannot express.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Environment {
    pub(super) script: String,
    pub(super) remarks: Vec<String>,
}

/// The image's environment. The image's `PATH` always applies; any other variable keeps a value that it has when this is
/// sourced, unless that is empty. Apptainer (seen with 1.4.5) sources this without the variables of the host that the image
/// sets, too: the image's value counts. What its user sets on purpose (`--env`, `APPTAINERENV_X`) Apptainer sets when it has
/// come to `99-base.sh`.
pub(super) fn environment(env: &[String]) -> Environment {
    let mut script = String::from("#!/bin/sh\n");
    let mut remarks = Vec::new();
    for entry in env {
        let (name, value) = match entry.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (entry.as_str(), None),
        };
        if !is_name(name) {
            remarks.push(format!(
                "environment variable {name:?} of the image is not set for Apptainer: \
                 a shell cannot set a variable of that name"
            ));
            continue;
        }
        let line = match value {
            None => format!("export {name}=\"${{{name}:-}}\"\n"),
            Some(value) if name == "PATH" => format!("export PATH={}\n", literal(value)),
            Some(value) => {
                format!("[ -n \"${{{name}:-}}\" ] || {name}={}\nexport {name}\n", literal(value))
            }
        };
        script.push_str(&line);
    }
    Environment { script, remarks }
}

/// `runscript`: starts what `docker run` would start. Arguments replace the image's command and follow its
/// entry point; they are passed on unchanged.
pub(super) fn runscript(entrypoint: &[String], cmd: &[String]) -> String {
    let words = |words: &[String]| words.iter().map(|word| literal(word) + " ").collect::<String>();
    let mut script = String::from("#!/bin/sh\n");
    if !cmd.is_empty() {
        script.push_str(&format!("[ $# -gt 0 ] || set -- {}\n", words(cmd).trim_end()));
    }
    if !entrypoint.is_empty() {
        script.push_str(&format!("set -- {}\"$@\"\n", words(entrypoint)));
    }
    script.push_str("[ $# -gt 0 ] || set -- /bin/sh\nexec \"$@\"\n");
    script
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const NASTY: [&str; 9] = [
        "$(id)",
        "`id`",
        "a$b",
        "say \"hi\"",
        "it's",
        "\\",
        "}${PATH}",
        "\ttab\nline",
        "; exit 1 #",
    ];

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    /// Runs `script` with `args` in both shells that images commonly have.
    fn run(script: &str, args: &[&str], env: &[(&str, &str)]) -> Vec<String> {
        ["dash", "bash"]
            .iter()
            .map(|shell| {
                let mut command = Command::new(shell);
                command.env_clear().env("PATH", "/usr/bin:/bin").envs(env.iter().copied());
                let output = command.arg("-c").arg(script).arg("run").args(args).output().unwrap();
                assert!(output.status.success(), "{shell}: {script}: {output:?}");
                String::from_utf8(output.stdout).unwrap()
            })
            .collect()
    }

    #[test]
    fn values_stay_literal() {
        for value in NASTY {
            let environment = environment(&[format!("X={value}")]);
            assert_eq!(environment.remarks, Vec::<String>::new());
            let script = environment.script + "printf %s \"$X\"";
            for (given, expected) in
                [(&[][..], value), (&[("X", "")], value), (&[("X", "set")], "set")]
            {
                assert_eq!(run(&script, &[], given), [expected; 2], "{value:?}");
            }
        }
    }

    #[test]
    fn path_is_the_image_s_and_a_bare_name_is_exported() {
        let script = environment(&strings(&["PATH=/opt/bin:/bin", "BARE"])).script;
        let shown = script + "printf '%s %s' \"$PATH\" \"$BARE\"";
        assert_eq!(run(&shown, &[], &[("BARE", "b")]), ["/opt/bin:/bin b"; 2]);
    }

    #[test]
    fn names_that_are_none_are_reported_and_not_run() {
        let environment = environment(&strings(&["x;touch /tmp/pwned=1", "a.b=2", "=3", "OK=4"]));
        assert_eq!(environment.remarks.len(), 3);
        assert!(!environment.script.contains("pwned"));
        assert!(environment.script.contains("OK='4'"));
    }

    #[test]
    fn runscript_runs_what_docker_would() {
        type Words = &'static [&'static str];
        let print: Words = &["printf", "<%s>"];
        let cases: [(Words, Words, Words, &str); 6] = [
            (print, &["a"], &[], "<a>"),
            (print, &["a"], &["b", "c d"], "<b><c d>"),
            (&[], &["printf", "cmd"], &[], "cmd"),
            (&[], &["printf", "cmd"], &["printf", "arg"], "arg"),
            (print, &[], &[], "<>"),
            (&[], &[], &["printf", "x"], "x"),
        ];
        for (entrypoint, cmd, args, expected) in cases {
            let script = runscript(&strings(entrypoint), &strings(cmd));
            assert_eq!(run(&script, args, &[]), [expected; 2], "{script}");
        }
    }

    #[test]
    fn nothing_is_evaluated_twice() {
        let expected: String = NASTY.iter().map(|word| format!("<{word}>")).collect();
        let as_cmd = runscript(&strings(&["printf", "<%s>"]), &strings(&NASTY));
        assert_eq!(run(&as_cmd, &[], &[]), [expected.as_str(); 2]);
        let as_args = runscript(&strings(&["printf", "<%s>"]), &[]);
        assert_eq!(run(&as_args, &NASTY, &[]), [expected.as_str(); 2]);
    }

    #[test]
    fn without_any_command_a_shell_starts() {
        let script = runscript(&[], &[]);
        assert!(script.ends_with("[ $# -gt 0 ] || set -- /bin/sh\nexec \"$@\"\n"));
    }

    #[test]
    fn fixed_scripts_are_valid_shell() {
        for (name, content) in FIXED {
            for shell in ["dash", "bash"] {
                let status = Command::new(shell).args(["-n", "-c", content]).status().unwrap();
                assert!(status.success(), "{shell} {name}");
            }
        }
    }
}
