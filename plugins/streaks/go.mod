module metric

go 1.24

require metric/sdk v0.0.0

replace metric/sdk => ../../guest-sdk/go
