//! Disk images, read by other implementations of each format.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a helper that fails fails its test"
)]

mod common;

use std::fs::{self, File};
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use backhand::{FilesystemReader, InnerNode};
use bootgate_media::Arch;
use bootgate_media::disk::{self, DiskInputs, DiskRecipe, Guid};
use common::FakeKernel;
use gpt::disk::LogicalBlockSize;

fn recipe() -> DiskRecipe {
    DiskRecipe::load(&common::recipe("disk.toml")).unwrap()
}

fn refusal(change: impl FnOnce(&str) -> String) -> String {
    let text = fs::read_to_string(common::recipe("disk.toml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.toml");
    let changed = change(&text);
    assert_ne!(changed, text);
    fs::write(&path, changed).unwrap();
    DiskRecipe::load(&path).unwrap_err().to_string()
}

#[test]
fn recipes_that_cannot_be_built_are_refused() {
    let cases = [
        (
            "size_mib = 64",
            "size_mib = 64\nsize = 1",
            "unknown field `size`",
        ),
        ("size_mib = 64", "size_mib = 4", "size_mib `4`"),
        ("esp_mib = 40", "esp_mib = 61", "esp_mib `61`"),
        (
            "sector_size = 512",
            "sector_size = 520",
            "sector_size `520`",
        ),
        ("bootgate-demo-1", "two words", "image_id `two words`"),
        ("quiet", "quiet; halt", "cmdline has `;`"),
        ("-4000-8000-000000000000", "", "is not a GUID"),
        ("bios_boot", "# bios_boot", "ids has no `bios_boot`"),
        (
            "profile",
            "arch = \"i386\"\nprofile",
            "unknown variant `i386`",
        ),
    ];
    for (old, new, expected) in cases {
        let error = refusal(|text| text.replacen(old, new, 1));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn guids_read_as_they_are_written() {
    let text = "b007ca7e-0102-4304-8506-0708090a0b0c";
    let guid: Guid = text.parse().unwrap();
    assert_eq!(guid.to_string(), text);
    assert_eq!(
        guid.0[..8],
        [0x7e, 0xca, 0x07, 0xb0, 0x02, 0x01, 0x04, 0x43]
    );
    for wrong in [
        "",
        "b007ca7e",
        "b007ca7e-0102-4304-8506-0708090a0b0g",
        "b007ca7e01024304850607080-9-a-0b-0c",
    ] {
        assert!(wrong.parse::<Guid>().is_err(), "{wrong}");
    }
}

#[test]
fn same_input_gives_the_same_bytes_whatever_the_host() {
    let real = real!();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = real.disk(&recipe(), one.path());
    let before = rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let second = real.disk(&recipe(), &two.path().join("deep/out"));
    rustix::process::umask(before);
    assert_eq!(first.sha256, second.sha256);
    assert!(fs::read(&first.image).unwrap() == fs::read(&second.image).unwrap());
    let mut other = recipe();
    other.image_id = "another".to_owned();
    assert_ne!(real.disk(&other, two.path()).sha256, first.sha256);
}

#[test]
fn partitions_and_file_systems_hold_what_they_should() {
    let real = real!();
    for sector_size in [512, 4096] {
        let folder = tempfile::tempdir().unwrap();
        let mut recipe = recipe();
        recipe.sector_size = sector_size;
        let disk = real.disk(&recipe, folder.path());
        assert_eq!(disk.size, 64 << 20);
        let sector = if sector_size == 512 {
            LogicalBlockSize::Lb512
        } else {
            LogicalBlockSize::Lb4096
        };
        // Checks the checksums of both headers and of the entries.
        let table = gpt::GptConfig::new()
            .writable(false)
            .only_valid_headers(true)
            .logical_block_size(sector)
            .open(&disk.image)
            .unwrap();
        let found: Vec<_> = table.partitions().values().collect();
        let names: Vec<_> = found
            .iter()
            .map(|partition| partition.name.as_str())
            .collect();
        // A BIOS reads sectors of 512 bytes.
        let esp = usize::from(sector_size == 512);
        assert_eq!(names, ["bios-boot", "esp", "root"][1 - esp..]);
        assert_eq!(
            found[esp + 1].part_guid.to_string(),
            recipe.ids.root.to_string()
        );
        if esp == 1 {
            assert_eq!(found[0].part_type_guid, gpt::partition_types::BIOS);
        }
        assert_eq!(found[esp].part_type_guid, gpt::partition_types::EFI);
        let part = |index: usize| {
            let start = found[index].bytes_start(sector).unwrap();
            let length = found[index].bytes_len(sector).unwrap();
            read_at(&disk.image, start, length)
        };
        check_esp(part(esp), &recipe, &fs::read(&real.kernel.vmlinuz).unwrap());
        check_root(part(esp + 1), &recipe);
    }
}

fn read_at(path: &Path, start: u64, length: u64) -> Vec<u8> {
    let mut file = File::open(path).unwrap();
    file.seek(SeekFrom::Start(start)).unwrap();
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).unwrap();
    bytes
}

fn check_esp(content: Vec<u8>, recipe: &DiskRecipe, kernel: &[u8]) {
    let volume = fatfs::FileSystem::new(Cursor::new(content), fatfs::FsOptions::new()).unwrap();
    assert_eq!(volume.volume_id(), recipe.ids.esp_volume);
    let read = |path: &str| {
        let mut bytes = Vec::new();
        volume
            .root_dir()
            .open_file(path)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    };
    let config = String::from_utf8(read("boot/grub/grub.cfg")).unwrap();
    assert!(
        config.contains(&format!("root=PARTUUID={}", recipe.ids.root)),
        "{config}"
    );
    assert!(config.contains(&recipe.cmdline), "{config}");
    assert!(read("boot/vmlinuz") == kernel);
    assert!(read("EFI/BOOT/BOOTX64.EFI").starts_with(b"MZ"));
}

fn check_root(content: Vec<u8>, recipe: &DiskRecipe) {
    let root = FilesystemReader::from_reader(BufReader::new(Cursor::new(content))).unwrap();
    let node = root
        .files()
        .find(|node| node.fullpath == Path::new("/etc/bootgate/image-id"));
    let InnerNode::File(file) = &node.unwrap().inner else {
        panic!("not a file");
    };
    let mut id = String::new();
    root.file(file).reader().read_to_string(&mut id).unwrap();
    assert_eq!(id, format!("{}\n", recipe.image_id));
}

#[test]
fn what_does_not_fit_is_named_and_leaves_no_image() {
    let real = real!();
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = recipe();
    (recipe.size_mib, recipe.esp_mib) = (16, 10);
    let inputs = DiskInputs {
        kernel: &real.kernel,
        init: &real.programs.join("bootgate-diskinit"),
        grub_dir: Path::new(disk::DEFAULT_GRUB_DIR),
        epoch: 0,
    };
    let error = disk::build(&recipe, &inputs, folder.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("EFI system partition"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn another_architecture_is_refused_by_kernel_and_program() {
    let package = FakeKernel::new();
    let kernel = package.find();
    let init = package.root.path().join("init");
    fs::write(&init, common::static_program()).unwrap();
    let inputs = DiskInputs {
        kernel: &kernel,
        init: &init,
        grub_dir: package.root.path(),
        epoch: 0,
    };
    let mut recipe = DiskRecipe::load(&common::recipe("disk-arm64.toml")).unwrap();
    let build = |recipe: &DiskRecipe| {
        let error = disk::build(recipe, &inputs, package.root.path());
        error.unwrap_err().to_string()
    };
    let error = build(&recipe);
    assert!(error.contains("machine `62`, not for `aarch64`"), "{error}");
    recipe.arch = Arch::X86_64;
    recipe.sector_size = 4096;
    let mut image = vec![0; 64];
    image[56..60].copy_from_slice(b"ARM\x64");
    fs::write(&kernel.vmlinuz, image).unwrap();
    let error = build(&recipe);
    assert!(
        error.contains("it is for `aarch64`, the recipe asks for `x86_64`"),
        "{error}"
    );
}

#[test]
fn missing_grub_names_its_package() {
    let package = FakeKernel::new();
    let kernel = package.find();
    let init = package.root.path().join("init");
    fs::write(&init, common::static_program()).unwrap();
    let grub_dir = package.root.path();
    let inputs = DiskInputs {
        kernel: &kernel,
        init: &init,
        grub_dir,
        epoch: 0,
    };
    let error = disk::build(&recipe(), &inputs, package.root.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("`grub-pc-bin`"), "{error}");
}
