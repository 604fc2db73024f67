@echo off
rem Measures what comes through a vault at its limit; see bench/README.md.
cd /d "%~dp0.."
cargo bench --quiet --locked -p bench --bench throttle -- %*
