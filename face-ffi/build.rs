//! Gives `libface.so` its SONAME, which cargo leaves out: programs that link it then ask for the version they were built for.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let part = |name: &str| std::env::var(name).unwrap_or_default();
    // Before 1.0, a new minor version may break the ABI, and so it is part of the name.
    let (major, minor) = (part("CARGO_PKG_VERSION_MAJOR"), part("CARGO_PKG_VERSION_MINOR"));
    let abi = if major == "0" { format!("{major}.{minor}") } else { major };
    match part("CARGO_CFG_TARGET_OS").as_str() {
        "linux" | "android" | "freebsd" | "netbsd" | "openbsd" | "dragonfly" => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libface.so.{abi}");
            // What the C++ of a dependency calls is nobody else's affair.
            println!("cargo:rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
        }
        "macos" | "ios" => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libface.{abi}.dylib");
        }
        _ => {}
    }
}
