//! The photos of a training: who is on which.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::config::DataConfig;
use crate::error::{Error, Result};
use crate::eval::photos_by_person;

/// Photos with a label each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PhotoSet {
    /// Names of the people; a label is a position in this list.
    pub people: Vec<String>,
    /// The photos, those of a person together.
    pub photos: Vec<LabelledPath>,
    /// What was left out, and why.
    pub left_out: Vec<LeftOut>,
}

/// A photo, and who is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledPath {
    /// The file.
    pub path: PathBuf,
    /// Position in the list of people.
    pub label: usize,
}

/// A photo or a person that is not learnt from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The file or folder, or the name of a person.
    pub what: String,
    /// Why.
    pub reason: String,
}

impl PhotoSet {
    /// The photos of a folder with a folder for each person, or of a list.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for a list that is none; as [`check`](Self::check).
    pub fn open(config: &DataConfig) -> Result<Self> {
        let (by_person, origin) = match (&config.folder, &config.list) {
            (Some(folder), _) => (people_of_folder(folder)?, folder),
            (None, Some(list)) => (people_of_list(list)?, list),
            (None, None) => {
                return Err(Error::InvalidParameter {
                    parameter: "data",
                    value: "neither".into(),
                    expected: "one of `folder` and `list`".into(),
                });
            }
        };
        let set = Self::from_people(by_person, config.least_photos);
        set.check(origin)?;
        Ok(set)
    }

    fn from_people(by_person: BTreeMap<String, Vec<PathBuf>>, least: usize) -> Self {
        let mut set = Self::default();
        for (person, photos) in by_person {
            if photos.len() < least.max(1) {
                let reason = match photos.len() {
                    0 => "no photos".to_owned(),
                    count => format!("{count} photos, and {least} are the least"),
                };
                set.left_out.push(LeftOut { what: person, reason });
                continue;
            }
            let label = set.people.len();
            set.people.push(person);
            set.photos.extend(photos.into_iter().map(|path| LabelledPath { path, label }));
        }
        set
    }

    /// Whether there is anything to tell apart.
    ///
    /// # Errors
    /// [`Error::TrainingData`] for fewer than two people.
    pub fn check(&self, origin: &Path) -> Result<()> {
        if self.people.len() >= 2 {
            return Ok(());
        }
        let found = match self.people.as_slice() {
            [] => "nobody with enough photos".to_owned(),
            [person, ..] => format!("one person alone, {person}"),
        };
        let left_out = match self.left_out.as_slice() {
            [] => String::new(),
            [first, ..] => format!(" ({} left out, {}: {} for one)", self.left_out.len(), first.what, first.reason),
        };
        let reason = format!("{found}{left_out}; two people at least are needed, with a folder of photos each");
        Err(Error::TrainingData { path: origin.to_owned(), reason })
    }

    /// Without some of the photos; people who have too few then are left out as well.
    #[must_use]
    pub fn without(self, unusable: BTreeMap<usize, String>, least: usize) -> Self {
        let mut by_person: BTreeMap<String, Vec<PathBuf>> =
            self.people.iter().map(|person| (person.clone(), vec![])).collect();
        let mut left_out = self.left_out;
        for (index, photo) in self.photos.into_iter().enumerate() {
            match unusable.get(&index) {
                Some(reason) => {
                    left_out.push(LeftOut { what: photo.path.display().to_string(), reason: reason.clone() });
                }
                None => by_person.entry(self.people[photo.label].clone()).or_default().push(photo.path),
            }
        }
        let mut set = Self::from_people(by_person, least);
        left_out.append(&mut set.left_out);
        Self { left_out, ..set }
    }

    /// The label of each photo.
    pub fn labels(&self) -> Vec<usize> {
        self.photos.iter().map(|photo| photo.label).collect()
    }
}

fn people_of_folder(folder: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>> {
    let name = |person: &Path| person.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(photos_by_person(folder)?.into_iter().map(|(person, photos)| (name(&person), photos)).collect())
}

/// The columns of a list.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    photo: PathBuf,
    person: String,
}

fn people_of_list(path: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>> {
    let text = crate::files::read_text(path)?;
    let folder = crate::files::folder_of(path);
    let mut people: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    for row in reader.deserialize() {
        let row: Row = row.map_err(|error| Error::Format {
            path: path.to_owned(),
            line: error.position().map_or(1, |position| position.line() as usize),
            reason: format!(
                "{error}; expected a line `photo,person` at the top, and a path with a name in each other line"
            ),
        })?;
        people.entry(row.person).or_default().push(folder.join(row.photo));
    }
    Ok(people)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn config(folder: &Path) -> DataConfig {
        DataConfig {
            folder: Some(folder.to_owned()),
            list: None,
            aligned: None,
            least_photos: 2,
            most_unusable: 0.1,
            augmentation: super::super::config::Augmentation::default(),
        }
    }

    fn make(folder: &Path, files: &[&str]) {
        for file in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
    }

    #[test]
    fn people_are_folders_and_those_without_photos_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        make(
            folder.path(),
            &["b/2.jpg", "b/1.PNG", "b/notes.txt", "a/1.jpg", "a/2.jpg", "one/1.jpg", ".hidden/1.jpg", "stray.jpg"],
        );
        std::fs::create_dir(folder.path().join("empty")).unwrap();
        let set = PhotoSet::open(&config(folder.path())).unwrap();
        assert_eq!(set.people, ["a", "b"]);
        assert_eq!(set.labels(), [0, 0, 1, 1]);
        let left_out: Vec<_> = set.left_out.iter().map(|out| out.what.as_str()).collect();
        assert_eq!(left_out, ["empty", "one"]);
        let fewer = set.without(BTreeMap::from([(0, "damaged".to_owned())]), 1);
        assert_eq!((fewer.labels(), fewer.left_out.len()), (vec![0, 1, 1], 3));
        let one = fewer.without(BTreeMap::from([(0, "damaged".to_owned())]), 1);
        let error = one.check(folder.path()).unwrap_err().to_string();
        assert!(error.contains("one person alone, b"), "{error}");
    }

    #[test]
    fn one_person_alone_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), &["a/1.jpg", "a/2.jpg"]);
        let error = PhotoSet::open(&config(folder.path())).unwrap_err();
        assert!(matches!(error, Error::TrainingData { .. }), "{error:?}");
    }

    #[test]
    fn lists_name_photos_and_people() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list.csv");
        let read = |text: &str| {
            std::fs::write(&list, text).unwrap();
            PhotoSet::open(&DataConfig { folder: None, list: Some(list.clone()), ..config(folder.path()) })
        };
        let set = read("photo, person\nx/1.jpg, Ann\n\"y, 2.jpg\",Bob\nx/3.jpg,Ann\n/z.jpg,Bob\n").unwrap();
        assert_eq!((set.people.len(), set.labels()), (2, vec![0, 0, 1, 1]));
        assert_eq!(set.photos[2].path, folder.path().join("y, 2.jpg"));
        let error = read("photo,person\na.jpg,Ann\nb.jpg\n").unwrap_err();
        assert!(matches!(error, Error::Format { line: 3, .. }), "{error:?}");
        let error = read("file,person\na.jpg,Ann\n").unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error:?}");
    }
}
