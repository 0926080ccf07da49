package wire

func Build(...any) string { return "" }
