@echo off
rem Lets everything fail at once, and counts whether anything was lost or doubled; see chaos/README.md.
cd /d "%~dp0.."
cargo run --quiet --locked --profile bench -p chaos -- %*
