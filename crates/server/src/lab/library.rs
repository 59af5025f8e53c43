//! What a lab gives out: read once at the start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bootgate_api::ExpectedFlash;
use bootgate_api::artifact::ImageInfo;
use bootgate_events::ArtifactRole;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};

use super::{InstallerConfig, LabConfig, LiveConfig};
use crate::depot::{IndexHead, blob_name};
use crate::{Artifact, ArtifactName, Artifacts, StartError};

/// Images that were replaced or removed and are kept in mind for boots that began with them.
const FORMER: usize = 64;

/// The images, environments, installers and scripts of a lab.
#[derive(Clone, Debug)]
pub(super) struct Library {
    /// Those of the configuration.
    pub(super) images: BTreeMap<String, Image>,
    /// Those of the store.
    stored: Stock,
    pub(super) live: Option<Kernel>,
    pub(super) installers: BTreeMap<String, Kernel>,
    pub(super) scripts: BTreeMap<String, String>,
    /// Templates: `cmdline/INSTALLER` and `answer/INSTALLER`.
    pub(super) templates: Environment<'static>,
}

/// The images of the store.
#[derive(Clone, Debug, Default)]
struct Stock {
    now: BTreeMap<String, Image>,
    /// What stood there before, the latest last.
    former: Vec<(String, Image)>,
}

/// An image to flash.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// Logical sector size that it was made for, in bytes.
    pub(super) sector_size: u32,
    pub(super) expected: ExpectedFlash,
    pub(super) index: ArtifactName,
    pub(super) data: ArtifactName,
}

/// A kernel with its initial RAM disks.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    pub(super) kernel: ArtifactName,
    pub(super) initrds: Vec<ArtifactName>,
    /// Its command line; of an installer, the template's source.
    pub(super) cmdline: String,
}

fn wrong(problem: String) -> StartError {
    StartError::Config(problem)
}

impl Library {
    /// Reads what the configuration names and gives it out. Blocks for the disk.
    pub(super) fn read(config: &LabConfig, artifacts: &Artifacts) -> Result<Self, StartError> {
        for (prefix, folder) in &config.artifacts {
            artifacts.insert_below(prefix, folder).map_err(|error| {
                let folder = folder.display();
                wrong(format!("read artifact folder `{folder}`: {error}"))
            })?;
        }
        let mut library = Self {
            images: BTreeMap::new(),
            stored: Stock::default(),
            live: None,
            installers: BTreeMap::new(),
            scripts: BTreeMap::new(),
            templates: environment(),
        };
        for (name, folder) in &config.images {
            let image = read_image(name, folder, artifacts)?;
            library.images.insert(name.clone(), image);
        }
        if let Some(live) = &config.live {
            library.live = Some(give_live(live, artifacts)?);
        }
        for (name, installer) in &config.installers {
            library.add_installer(name, installer, artifacts)?;
        }
        for (name, path) in &config.scripts {
            let text = read_text("script", name, path)?;
            library.scripts.insert(name.clone(), text);
        }
        Ok(library)
    }

    /// The image of that name.
    pub(super) fn image(&self, name: &str) -> Option<&Image> {
        self.images.get(name).or_else(|| self.stored.now.get(name))
    }

    /// The names of all images that machines can be flashed with.
    pub(super) fn image_names(&self) -> impl Iterator<Item = &String> {
        self.images.keys().chain(self.stored.now.keys())
    }

    /// The image of that name that a boot began with, though another one may stand there since.
    pub(super) fn image_of(&self, name: &str, expected: Option<&ExpectedFlash>) -> Option<&Image> {
        let same = |image: &&Image| Some(&image.expected) == expected;
        let former = || {
            let mut former = self.stored.former.iter().rev();
            let found = former.find(|(known, image)| known == name && same(&image));
            found.map(|(_, image)| image)
        };
        self.image(name).filter(same).or_else(former)
    }

    /// All images, also former ones.
    pub(super) fn all_images(&self) -> impl Iterator<Item = &Image> {
        let stored = self.stored.now.values();
        let former = self.stored.former.iter().map(|(_, image)| image);
        self.images.values().chain(stored).chain(former)
    }

    /// The same library with these images of the store.
    pub(super) fn with_stored(&self, images: &BTreeMap<String, ImageInfo>) -> Self {
        let now = images.iter().filter_map(|(name, info)| {
            let image = Image {
                sector_size: info.sector_size,
                expected: info.written.clone(),
                index: blob_name(&info.index?)?,
                data: blob_name(&info.data?)?,
            };
            Some((name.clone(), image))
        });
        let now: BTreeMap<_, _> = now.collect();
        let mut former = self.stored.former.clone();
        for (name, image) in &self.stored.now {
            let stays = now.get(name);
            if stays.is_none_or(|stays| stays.expected != image.expected) {
                former.push((name.clone(), image.clone()));
            }
        }
        former.drain(..former.len().saturating_sub(FORMER));
        Self {
            stored: Stock { now, former },
            ..self.clone()
        }
    }

    /// The same library with the images of the store that `other` has.
    pub(super) fn with_stored_of(self, other: &Self) -> Self {
        Self {
            stored: other.stored.clone(),
            ..self
        }
    }

    fn add_installer(
        &mut self,
        name: &str,
        installer: &InstallerConfig,
        artifacts: &Artifacts,
    ) -> Result<(), StartError> {
        let prefix = format!("installers/{name}");
        let kernel = give_kernel(
            &prefix,
            &installer.kernel,
            &installer.initrds,
            &installer.cmdline,
            artifacts,
        )?;
        self.add_template(format!("cmdline/{name}"), installer.cmdline.clone())?;
        if let Some(path) = &installer.answer {
            let text = read_text("answer file of installer", name, path)?;
            self.add_template(format!("answer/{name}"), text)?;
        }
        self.installers.insert(name.to_owned(), kernel);
        Ok(())
    }

    fn add_template(&mut self, name: String, source: String) -> Result<(), StartError> {
        self.templates
            .add_template_owned(name.clone(), source)
            .map_err(|error| wrong(format!("read template `{name}`: {error:#}")))
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment
}

fn read_image(name: &str, folder: &Path, artifacts: &Artifacts) -> Result<Image, StartError> {
    let index_path = folder.join("index.json");
    let data_path = folder.join("image.zst");
    let problem = |why: String| {
        wrong(format!(
            "read image `{name}` (`{}`): {why}",
            index_path.display()
        ))
    };
    let head = IndexHead::read(&index_path).map_err(problem)?;
    let prefix = format!("images/{name}");
    let index = give(
        &prefix,
        "index.json",
        &index_path,
        ArtifactRole::ImageIndex,
        artifacts,
    )?;
    let data = give(
        &prefix,
        "image.zst",
        &data_path,
        ArtifactRole::Image,
        artifacts,
    )?;
    Ok(Image {
        sector_size: head.sector_size,
        expected: ExpectedFlash {
            image_sha256: head.image_sha256,
            chunks_sha256: head.chunks_sha256,
            size: head.size,
        },
        index,
        data,
    })
}

fn give_live(live: &LiveConfig, artifacts: &Artifacts) -> Result<Kernel, StartError> {
    give_kernel(
        "bootgate-live",
        &live.kernel,
        &live.initrds,
        &live.cmdline,
        artifacts,
    )
}

fn give_kernel(
    prefix: &str,
    kernel: &Path,
    initrds: &[PathBuf],
    cmdline: &str,
    artifacts: &Artifacts,
) -> Result<Kernel, StartError> {
    let kernel = give(prefix, "kernel", kernel, ArtifactRole::Kernel, artifacts)?;
    let initrds = initrds.iter().enumerate().map(|(number, path)| {
        let name = format!("initrd{number}");
        give(prefix, &name, path, ArtifactRole::Initrd, artifacts)
    });
    Ok(Kernel {
        kernel,
        initrds: initrds.collect::<Result<_, _>>()?,
        cmdline: cmdline.to_owned(),
    })
}

/// Gives out a file that must be there.
fn give(
    prefix: &str,
    name: &str,
    path: &Path,
    role: ArtifactRole,
    artifacts: &Artifacts,
) -> Result<ArtifactName, StartError> {
    let name =
        ArtifactName::new(format!("{prefix}/{name}")).map_err(|error| wrong(error.to_string()))?;
    let file = std::fs::metadata(path);
    match file {
        Ok(file) if file.is_file() => {
            artifacts.insert(name.clone(), Artifact::new(path, role));
            Ok(name)
        }
        Ok(_) => Err(wrong(format!(
            "give out `{}`: it is not a file",
            path.display()
        ))),
        Err(error) => Err(wrong(format!("give out `{}`: {error}", path.display()))),
    }
}

fn read_text(what: &str, name: &str, path: &Path) -> Result<String, StartError> {
    std::fs::read_to_string(path).map_err(|error| {
        wrong(format!(
            "read {what} `{name}` (`{}`): {error}",
            path.display()
        ))
    })
}
