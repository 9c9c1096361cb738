//! The exports of a configuration: loads their templates and checks their paths.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::document::Document;
use super::error::{ConfigError, Mistake};
use super::file;
use super::location::Location;
use super::paths::without_dots;
use super::schema::{Config, ExportConfig};
use crate::export::Documents;
use crate::export::collision::same_file;
use crate::export::template::{self, TemplateError};
use crate::publish::{self, Durability};

/// File name of the snapshot in the state folder.
pub const SNAPSHOT: &str = "whisper.snapshot";
/// The count worker gets the templates with each request.
const MAX_TEMPLATES_BYTES: usize = 256 << 10;

impl ExportConfig {
    /// Returns whether it is made from the count alone, and therefore written by the count worker.
    pub fn is_of_count(&self) -> bool {
        self.from.iter().all(|name| name == "graphite")
    }

    /// Returns the path with its key.
    pub fn named_path(self) -> (String, PathBuf) {
        ("export.path".into(), self.path)
    }

    /// Renders the template and publishes the text.
    pub fn publish(&self, documents: &Documents) -> Result<()> {
        let text = self.render(documents)?;
        publish::publish(&self.path, &text, Durability::Synced, self.mode)
            .with_context(|| format!("publishing {:?}", self.path))
    }

    /// Returns the text that is to be published. The template must be loaded.
    pub fn render(&self, documents: &Documents) -> Result<String> {
        let template = self.template.as_deref().unwrap_or_default();
        let rendered = documents.render(template, &self.from);
        rendered.with_context(|| match &self.template_file {
            Some(file) => format!("rendering {file:?} for {:?}", self.path),
            None => format!("rendering the template for {:?}", self.path),
        })
    }
}

impl Config {
    /// Returns the files that no export must replace, apart from exports and the published count, each with its key.
    pub fn local_files(&self) -> Vec<(String, PathBuf)> {
        let named = |key: &str, path: Option<PathBuf>| path.map(|path| (key.to_string(), path));
        let in_state = |name| self.state_dir.as_ref().map(|folder| folder.join(name));
        let mut files = Vec::from_iter(named("log_file", self.log_file.clone()));
        files.extend(named("the snapshot in state_dir", in_state(SNAPSHOT)));
        for mut collector in self.collectors() {
            if collector.enabled && collector.name != "graphite" {
                let output = collector.outputs.swap_remove(0);
                files.push((format!("{}.output", collector.name), output));
            }
        }
        if !self.export.is_empty() {
            files.extend(named("the lock in state_dir", in_state("lock")));
            let lock = self.host.run.join("shinken-gatherer/lock");
            files.push(("the lock in host.run".into(), lock));
            files.extend(named("the configuration file", self.file.clone()));
            let templates = self.export.iter().map(|export| export.template_file.clone());
            files.extend(templates.filter_map(|template| named("export.template_file", template)));
        }
        files
    }
}

/// Reads and compiles the templates, and rejects paths that are the same file through links. `file` is the configuration.
///
/// Accesses no path of an export that the count worker writes: its storage may hang, and the worker checks it.
pub fn load(config: &mut Config, file: &Path, document: &Document) -> Result<(), ConfigError> {
    let location = |index, key| {
        document
            .location_of("export", key, Some(index))
            .unwrap_or_default()
    };
    let reject = |index, key, reason| {
        let location = location(index, key);
        Err(Mistake { location, reason }.in_file(file))
    };
    let mut bytes = 0;
    for (index, export) in config.export.iter_mut().enumerate() {
        if let Some(path) = &export.template_file {
            export.template = Some(file::read(path)?);
        }
        let text = export.template.as_deref().unwrap_or_default();
        bytes += text.len();
        if bytes > MAX_TEMPLATES_BYTES {
            let reason = format!("templates are longer than {MAX_TEMPLATES_BYTES} bytes in total");
            return reject(index, "path", reason);
        }
        let Err(error) = template::check(text) else {
            continue;
        };
        let TemplateError { line, column, reason } = &error;
        let Some(path) = &export.template_file else {
            return reject(index, "template", error.to_string());
        };
        let (line, key) = (Some(*line), None);
        let location = Location { line, key };
        let reason = format!("column {column}: {reason}");
        return Err(Mistake { location, reason }.in_file(path));
    }
    if !config.export.is_empty() {
        config.file = std::path::absolute(file).ok();
    }
    let mut others = config.local_files();
    let local = config.export.iter().enumerate();
    for (index, export) in local.filter(|(_, export)| !export.is_of_count()) {
        if let Some(other) = same_file(&export.path, &others) {
            let reason = format!("{:?} and {other} are the same file, through links", export.path);
            return reject(index, "path", reason);
        }
        others.push(export.clone().named_path());
    }
    Ok(())
}

/// Returns the key and the reason if an export is wrong by itself.
pub fn check(export: &ExportConfig, config: &Config) -> Result<(), (&'static str, String)> {
    let collectors = config.collectors().map(|collector| collector.name);
    let unknown = export
        .from
        .iter()
        .find(|name| !collectors.contains(&name.as_str()));
    let reject = |key, reason: String| Err((key, reason));
    if let Some(name) = unknown {
        return reject(
            "from",
            format!("{name:?} must be one of {}", collectors.join(", ")),
        );
    }
    if export.from.is_empty() {
        return reject("from", "must name the documents that the template uses".into());
    }
    if export.template.is_some() == export.template_file.is_some() {
        return reject("path", "needs either template or template_file".into());
    }
    match &config.state_dir {
        Some(folder) if without_dots(&export.path).starts_with(without_dots(folder)) => {
            reject("path", format!("{:?} is in state_dir", export.path))
        }
        _ => Ok(()),
    }
}
