@echo off
rem Fuzzes every parser of foreign bytes, each for so many minutes; see fuzz/README.md.
cd /d "%~dp0.."
cargo run --quiet --locked -p fuzz-targets --example fuzz -- %*
