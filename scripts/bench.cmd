@echo off
rem Measures Signet against its peers; see bench/README.md.
cd /d "%~dp0.."
cargo bench --quiet --locked -p bench --bench ratios -- %*
