#!/bin/sh
# SCIF apps: https://sci-f.github.io
if [ -n "${SINGULARITY_APPNAME:-}" ]; then
    SCIF_APPS=/scif/apps
    SCIF_APPROOT="$SCIF_APPS/$SINGULARITY_APPNAME"
    if [ ! -d "$SCIF_APPROOT" ]; then
        echo "no app $SINGULARITY_APPNAME in this image" >&2
        exit 1
    fi
    export SCIF_APPS SCIF_APPROOT
    PATH="$SCIF_APPROOT/bin:$SCIF_APPROOT:$PATH"
    export PATH
    if [ -d "$SCIF_APPROOT/lib" ]; then
        LD_LIBRARY_PATH="$SCIF_APPROOT/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
        export LD_LIBRARY_PATH
    fi
    for script in 01-base.sh 90-environment.sh; do
        if [ -f "$SCIF_APPROOT/scif/env/$script" ]; then
            . "$SCIF_APPROOT/scif/env/$script"
        fi
    done
fi
