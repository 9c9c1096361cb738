//! Tests that run without root, by subject. `support` holds what they share with `tests/root`.

mod check {
    mod answers;
    mod command;
}
mod cli;
mod config {
    mod cases;
    mod exports;
    mod files;
    mod show;
    mod values;
}
mod count {
    mod command;
    mod contact;
    mod daemon;
    mod incremental;
    mod snapshot;
    mod worker;
}
mod daemon {
    mod carbon;
    mod clocks;
    pub mod exports;
    mod life;
    mod lock;
    mod signals;
}
mod disks {
    mod cases;
    mod devices;
    mod malformed;
}
// What takes longest. tests/run has a suite of its own for it.
mod long {
    mod crash_safety;
    mod limits;
    mod random_changes;
    mod week;
}
mod once;
mod publish {
    mod outputs;
}
mod status;
#[allow(dead_code, unused_imports, reason = "tests/root uses other parts of it")]
#[path = "../support/mod.rs"]
mod support;

#[test]
fn each_file_of_a_crate_is_declared_as_a_module() {
    for (name, main) in [
        ("it", include_str!("main.rs")),
        ("root", include_str!("../root/main.rs")),
    ] {
        let crate_folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join(name);
        let folders = crate_folder
            .read_dir()
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().is_dir());
        for file in folders.flat_map(|folder| folder.path().read_dir().unwrap().flatten()) {
            let path = file.path();
            let module = path.file_stem().unwrap().display();
            assert!(
                path.is_dir() || main.contains(&format!(" mod {module};\n")),
                "{path:?}"
            );
        }
    }
}
