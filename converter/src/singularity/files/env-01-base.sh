#!/bin/sh
# The base environment is that of the runtime.
