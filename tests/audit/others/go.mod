module custody.example/others

go 1.27

require golang.org/x/mod v0.0.0

// The copy inside Go's own source tree, laid beside this file before the build.
replace golang.org/x/mod => ./mod
