!0 = !{!"branch_weights", i32 2000, i32 1}
!1 = !{!"branch_weights", i32 1, i32 2000}
define preserve_nonecc void @"handler"(ptr %record, ptr %cpu, i64 %budget) nounwind {
entry:
  %.1 = getelementptr i8, ptr %record, i64 9
  %.2 = load i8, ptr %.1, align 1
  %.3 = zext i8 %.2 to i64
  %.4 = getelementptr [8 x i8], ptr %cpu, i64 %.3
  %.5 = load i64, ptr %.4, align 1
  %.6 = add i64 %.5, 1
  %.7 = getelementptr i8, ptr %record, i64 8
  %.8 = load i8, ptr %.7, align 1
  %.9 = zext i8 %.8 to i64
  %.10 = getelementptr [8 x i8], ptr %cpu, i64 %.9
  store i64 %.6, ptr %.10, align 1
  %.11 = getelementptr [16 x i8], ptr %record, i64 1
  %.15 = icmp sgt i64 %budget, 0
  br i1 %.15, label %then.12, label %else.13, !prof !0
then.12:
  %.16 = load i64, ptr %.11, align 1
  %.17 = sub i64 %budget, 1
  %.18 = inttoptr i64 %.16 to ptr
  musttail call preserve_nonecc void %.18(ptr %.11, ptr %cpu, i64 %.17)
  ret void
else.13:
  %.19 = ptrtoint ptr %.11 to i64
  %.20 = getelementptr i8, ptr %cpu, i64 32
  store i64 %.19, ptr %.20, align 1
  ret void
}
