#!/bin/sh
# Place for settings of one's own; the image's environment is in 10-docker2singularity.sh.
