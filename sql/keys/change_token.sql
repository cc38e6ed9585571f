SELECT token FROM change WHERE what = ?
