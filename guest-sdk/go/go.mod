module metric/sdk

go 1.24
