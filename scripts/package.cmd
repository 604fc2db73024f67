@echo off
rem Builds the handler in the shipping profile and puts it at bin\handler.
cd /d "%~dp0.."
cargo run --quiet --locked -p signet -- package %*
