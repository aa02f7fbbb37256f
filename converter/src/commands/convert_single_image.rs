//! `ducc convert-single-image`.

use anyhow::Context;
use ducc::convert::{self, Again, BatchSettings, Request, ThinRequest};
use ducc::notification::{Conversion, Notifications};
use ducc::progress::Progress;
use ducc::report::{Report, Status};
use ducc::{Error, repository, source};
use layer_layout::ImageReference;
use tokio_util::sync::CancellationToken;

use super::advice;
use super::signals::Interruption;
use super::source_options::source_options;
use crate::cli::global::Verbosity;
use crate::cli::{ConvertSingleImage, ThinName};
use crate::{EXIT_FAILED, EXIT_NO_REPOSITORY, logging, screen};

/// Converts one image and gives the exit status.
pub(crate) async fn run(
    arguments: ConvertSingleImage,
    verbosity: Option<Verbosity>,
    notifications: &Notifications,
) -> u8 {
    let json = arguments.output.json;
    let quiet = arguments.output.quiet;
    let progress = Progress::new(logging::style(quiet));
    logging::start(&progress, quiet, verbosity);

    let mut report = Report::new(arguments.image.to_string());
    let cancel = CancellationToken::new();
    let interruption = Interruption::cancels(cancel.clone());
    let result = convert(arguments, &progress, notifications, &cancel, &mut report).await;

    let status = match &result {
        Ok(()) => 0,
        Err(error) => {
            let text = advice::explain(error);
            progress.suspend(|| logging::complain(&text));
            report.error = Some(text);
            match (interruption.status().await, error.downcast_ref()) {
                (Some(status), _) => status,
                (None, Some(error)) if repository::Error::is_no_such_repository(error) => {
                    EXIT_NO_REPOSITORY
                }
                (None, _) => EXIT_FAILED,
            }
        }
    };
    if json {
        print_json(&report);
    } else if !quiet && report.status != Status::Failed {
        screen::say(summary(&report));
    }
    status
}

async fn convert(
    arguments: ConvertSingleImage,
    progress: &Progress,
    notifications: &Notifications,
    cancel: &CancellationToken,
    report: &mut Report,
) -> anyhow::Result<()> {
    let told = Conversion::started(notifications, &report.image);
    let settings =
        BatchSettings::new(arguments.limits.limits(), progress.clone(), notifications.clone());
    let result = publish(arguments, &settings, &told, cancel, report).await;
    told.ended(result.as_ref().err().map(|error| format!("{error:#}")).as_deref());
    result
}

async fn publish(
    arguments: ConvertSingleImage,
    settings: &BatchSettings,
    told: &Conversion<'_>,
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
    let result = convert::convert(&request, repository, settings, cancel, report).await;
    if report.status == Status::Converted {
        told.published(&public_name(&request, report), report);
    }
    result.with_context(|| format!("cannot convert {}", report.image))
}

fn request(arguments: ConvertSingleImage) -> anyhow::Result<Request> {
    let ConvertSingleImage {
        image,
        platform,
        public_name,
        skip,
        verify_flat,
        multi_arch,
        thin,
        download,
        ..
    } = arguments;
    let form = thin.thin_format.into();
    skip.warn();
    let thin_name = thin.thin_image_name.and_then(|ThinName(name)| name);
    let thin_reference = thin_name.filter(|_| skip.allows_thin());
    let mut options = source_options(&download, platform)?;
    let username = thin.username.filter(|user| !user.is_empty());
    if let (Some(reference), Some(user)) = (&thin_reference, &username) {
        let password = source::credentials::push_password().context("--username")?;
        options.credentials = options.credentials.with_login(reference.registry(), user, &password);
    }
    Ok(Request {
        reference: image,
        name: public_name,
        at: None,
        flat: !skip.skip_flat,
        thin: thin_reference.map(|reference| ThinRequest { reference, form }),
        platforms: multi_arch.then_some(source::Platforms::All),
        again: Again { unfit_flat: verify_flat, ..Again::default() },
        source: options,
    })
}

/// The name under which an image was published.
fn public_name(request: &Request, report: &Report) -> String {
    let of_reference = || match &request.reference {
        ImageReference::Registry(reference) => reference.public_name(),
        _ => None,
    };
    match request.name.clone().or_else(of_reference) {
        Some(name) => name.to_string(),
        None => report.public_path.clone().unwrap_or_else(|| report.image.clone()),
    }
}

fn print_json(report: &Report) {
    match serde_json::to_string(report) {
        Ok(json) => screen::say(json),
        Err(error) => screen::warn(format_args!("ducc: cannot write the report: {error}")),
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
