@echo off
rem Makes the shipping binary, at bin\handler, and all that a deployment takes, in dist.
cd /d "%~dp0.."
cargo run --quiet --locked -p signet -- package %*
