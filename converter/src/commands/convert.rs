//! `ducc convert-single-image`.

use anyhow::Context;
use ducc::convert::{self, Request, ThinRequest};
use ducc::layer::Limits;
use ducc::progress::Progress;
use ducc::report::{Report, Status};
use ducc::{Error, repository, source};
use layer_layout::Platform;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::advice;
use crate::cli::ConvertSingleImage;
use crate::{EXIT_FAILED, EXIT_NO_REPOSITORY, EXIT_SIGNAL_BASE, logging};

/// Converts one image and gives the exit status.
pub(crate) async fn run(arguments: ConvertSingleImage) -> u8 {
    let json = arguments.output.json;
    let quiet = arguments.output.quiet;
    let progress = Progress::new(logging::style(quiet));
    logging::start(&progress, quiet);

    let mut report = Report::new(arguments.image.to_string());
    let cancel = CancellationToken::new();
    let signal = tokio::spawn(cancel_on_signal(cancel.clone()));
    let result = convert(arguments, &progress, &cancel, &mut report).await;

    let status = match &result {
        Ok(()) => 0,
        Err(error) => {
            let text = advice::explain(error);
            progress.suspend(|| eprintln!("ducc: {text}"));
            report.error = Some(text);
            match (cancel.is_cancelled(), error.downcast_ref()) {
                (true, _) => signal.await.map_or(EXIT_FAILED, |number| EXIT_SIGNAL_BASE + number),
                (false, Some(error)) if repository::Error::is_no_such_repository(error) => {
                    EXIT_NO_REPOSITORY
                }
                (false, _) => EXIT_FAILED,
            }
        }
    };
    if json {
        print_json(&report);
    } else if !quiet && report.status != Status::Failed {
        println!("{}", summary(&report));
    }
    status
}

async fn convert(
    arguments: ConvertSingleImage,
    progress: &Progress,
    cancel: &CancellationToken,
    report: &mut Report,
) -> anyhow::Result<()> {
    let access = repository::Access {
        catalog_entries: arguments.catalog_entries,
        ..arguments.access.clone().access()
    };
    let (locator, name) = (arguments.repository.clone(), arguments.repository_name.clone());
    let opening = tokio::task::spawn_blocking(move || locator.open(name.as_deref(), &access));
    let opened = cancel.run_until_cancelled(opening).await.ok_or(Error::Cancelled)?;
    let repository = opened.map_err(Error::from)??;
    let request = request(arguments)?;
    let result = convert::convert(&request, repository, progress, cancel, report).await;
    result.with_context(|| format!("cannot convert {}", report.image))
}

fn request(arguments: ConvertSingleImage) -> anyhow::Result<Request> {
    let ConvertSingleImage {
        image, platform, public_name, skip_flat, thin, download, limits, ..
    } = arguments;
    let form = thin.thin_format.into();
    let thin_reference = thin.thin_image_name.filter(|_| !thin.skip_thin_image);
    let mut credentials = source::Credentials::from_environment()?;
    if let (Some(reference), Some(user)) = (&thin_reference, &thin.username) {
        let password = source::credentials::push_password().context("--username")?;
        credentials = credentials.with_login(reference.registry(), user, &password);
    }
    let registries_conf = match &download.registries_conf {
        Some(path) => source::RegistriesConf::from_file(path)?,
        None => source::RegistriesConf::from_system()?,
    };
    let policy = match &download.signature_key[..] {
        [] => None,
        keys => Some(source::Policy::from_files(keys).context("--signature-key")?),
    };
    Ok(Request {
        reference: image,
        name: public_name,
        flat: !skip_flat,
        thin: thin_reference.map(|reference| ThinRequest { reference, form }),
        limits: Limits {
            entries: limits.max_entries,
            file_size: limits.max_file_size,
            unpacked_size: limits.max_unpacked_size,
            path_depth: limits.max_path_depth,
            ..Limits::default()
        },
        source: source::Options {
            platform: platform.unwrap_or_else(Platform::host),
            max_concurrent_downloads: download.max_concurrent_downloads,
            max_requests_per_registry: download.max_requests_per_registry,
            attempts: download.attempts,
            stall_timeout: download.stall_timeout,
            credentials,
            registries_conf,
            policy,
            ..source::Options::default()
        },
    })
}

/// Waits for SIGINT or SIGTERM, asks the conversion to stop, and returns the signal's number. A second
/// signal ends the program at once; what it leaves behind, the next run removes.
async fn cancel_on_signal(cancel: CancellationToken) -> u8 {
    let first = next_signal().await;
    tracing::warn!("stopping and cleaning up; once more to stop at once");
    cancel.cancel();
    tokio::spawn(async {
        let second = next_signal().await;
        std::process::exit((EXIT_SIGNAL_BASE + second).into());
    });
    first
}

async fn next_signal() -> u8 {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals keep their usual effect and end the program.
        return std::future::pending().await;
    };
    let kind = tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    };
    u8::try_from(kind.as_raw_value()).expect("the numbers of these signals are 2 and 15")
}

fn print_json(report: &Report) {
    match serde_json::to_string(report) {
        Ok(json) => println!("{json}"),
        Err(error) => eprintln!("ducc: cannot write the report: {error}"),
    }
}

/// The report in a few words.
fn summary(report: &Report) -> String {
    let state = match report.status {
        Status::Converted => "published",
        Status::UpToDate => "up to date",
        Status::Failed => "failed",
    };
    let path = match &report.public_path {
        Some(path) => format!(" as {path}"),
        None => String::new(),
    };
    let thin = match &report.thin {
        Some(thin) if thin.pushed => format!(", thin image pushed to {}", thin.reference),
        Some(thin) => format!(", thin image is at {}", thin.reference),
        None => String::new(),
    };
    format!(
        "{}: {state}{path}, {} layers fetched ({} bytes), {} there already, {:.1} s{thin}",
        report.image, report.layers_fetched, report.bytes_in, report.layers_skipped, report.seconds
    )
}
