#!/usr/bin/env bash
# Brings the dataset of refresh.yaml up to date; options are passed on:
#
#   BUCKET=my-bucket ./refresh.sh              every night, by cron
#   BUCKET=my-bucket ./refresh.sh --accept     publish the version that was held back
#
# Ends with 0 when the dataset is up to date, 4 when a version waits for a person, else with what
# `florilegium` ended with. Two at once are harmless: the second ends with 3.
set -uo pipefail
: "${BUCKET:?set it to the name of the bucket}"

dataset="s3://$BUCKET/datasets/photographs"
florilegium refresh "$(dirname "$0")/refresh.yaml" \
    --source "s3://$BUCKET/photographs" --output "$dataset" "$@"
code=$?

case $code in
    0) echo "up to date: $dataset" ;;
    3) echo "another command is writing $dataset" ;;
    4) echo "held back: look at $dataset/held_back.html, then run: $0 --accept" ;;
    *) echo "failed with $code: the next run resumes" ;;
esac
exit $code
