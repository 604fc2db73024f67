@echo off
rem Measures handler pull and its peers; see bench/README.md.
cd /d "%~dp0.."
cargo bench --quiet --locked -p bench --bench pull -- %*
