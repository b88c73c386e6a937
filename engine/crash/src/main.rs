//! See [`eciton_crash`].

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    eciton_crash::program::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("error: signals, mounts and mount namespaces as this needs them are Linux's");
}
