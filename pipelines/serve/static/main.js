// Shows the page that belongs to the path.
document.getElementById("page").removeAttribute("aria-busy");
